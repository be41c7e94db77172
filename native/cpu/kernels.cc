#include "cpu/kernels.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "cpu/isa_list.h"

namespace moe::cpu {

#define MOE_DECLARE(set)      \
  namespace set {             \
  extern const Kernels table; \
  }
MOE_CPU_ISAS(MOE_DECLARE)

namespace {

constexpr const char* kVariable = "MOE_CPU_ISA";

#define MOE_ADDRESS(set) &set::table,
constexpr const Kernels* kBestFirst[] = {MOE_CPU_ISAS(MOE_ADDRESS)};

std::string names_of_supported() {
  std::string names;
  for (const Kernels* kernels : supported_kernels()) names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  return names;
}

}  // namespace

std::span<const Kernels* const> supported_kernels() {
  static const std::vector<const Kernels*> supported = [] {
    std::vector<const Kernels*> found;
    for (const Kernels* kernels : kBestFirst)
      if (kernels->supported()) found.push_back(kernels);
    return found;
  }();
  return supported;
}

const Kernels& choose_kernels(const char* forced) {
  if (!forced || !*forced) return *supported_kernels().front();
  for (const Kernels* kernels : supported_kernels())
    if (std::strcmp(kernels->name, forced) == 0) return *kernels;
  throw Error(ErrorCode::kDeviceUnavailable, "Expected " + std::string(kVariable) +
                                                 " to be an instruction set of this CPU (" + names_of_supported() +
                                                 "), got `" + forced + "`");
}

const Kernels& choose_kernels() { return choose_kernels(std::getenv(kVariable)); }

std::string describe_choice() {
  const char* const forced = std::getenv(kVariable);
  const std::string name = choose_kernels(forced).name;
  return forced && *forced ? name + " (forced by " + kVariable + ")" : name + " (best of " + names_of_supported() + ")";
}

}  // namespace moe::cpu
