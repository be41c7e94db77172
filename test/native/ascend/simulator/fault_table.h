// Wrong uses of the interface, each beside the right one.
#pragma once
#include <ostream>
#include <vector>

#include "lab.h"

namespace ascend_sim {

struct SeededFault {
  const char* name;
  const char* sentence;  // part of what is recorded
  void (*use)(Lab&, bool wrong);
  const char* soc = "Ascend910B1";
};

inline void PrintTo(const SeededFault& fault, std::ostream* out) { *out << fault.name; }

std::vector<SeededFault> runtime_faults();
std::vector<SeededFault> tensor_faults();
std::vector<SeededFault> operator_faults();

}  // namespace ascend_sim
