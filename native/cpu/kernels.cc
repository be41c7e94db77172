#include "cpu/kernels.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "core/error.h"
#include "cpu/isa_list.h"

namespace moe::cpu {

#define MOE_DECLARE(set)      \
  namespace set {             \
  extern const Kernels table; \
  }
MOE_CPU_ISAS(MOE_DECLARE)

#define MOE_DECLARE_PAIRS(set)         \
  namespace set {                      \
  extern const PairKernels pair_table; \
  }
MOE_CPU_PAIR_ISAS(MOE_DECLARE_PAIRS)

#define MOE_DECLARE_DOTS(set)        \
  namespace set {                    \
  extern const DotKernels dot_table; \
  }
MOE_CPU_DOT_ISAS(MOE_DECLARE_DOTS)

namespace {

constexpr const char* kVariable = "MOE_CPU_ISA";

#define MOE_ADDRESS(set) &set::table,
constexpr const Kernels* kBestFirst[] = {MOE_CPU_ISAS(MOE_ADDRESS)};

#define MOE_PAIRS_ADDRESS(set) &set::pair_table,
constexpr std::initializer_list<const PairKernels*> kPairs = {MOE_CPU_PAIR_ISAS(MOE_PAIRS_ADDRESS)};

#define MOE_DOTS_ADDRESS(set) &set::dot_table,
constexpr std::initializer_list<const DotKernels*> kDots = {MOE_CPU_DOT_ISAS(MOE_DOTS_ADDRESS)};

// Of some that stand beside sets, the one that this CPU has; null where there is none.
template <class Beside>
const Beside* find_beside(const Kernels& set, std::initializer_list<const Beside*> all) {
  for (const Beside* each : all)
    if (std::strcmp(each->beside, set.name) == 0 && each->supported()) return each;
  return nullptr;
}

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

const PairKernels* pair_kernels(const Kernels& kernels) { return find_beside(kernels, kPairs); }
const DotKernels* dot_kernels(const Kernels& kernels) { return find_beside(kernels, kDots); }

const Kernels& choose_kernels() { return choose_kernels(std::getenv(kVariable)); }

std::string describe_choice() {
  const char* const forced = std::getenv(kVariable);
  const Kernels& kernels = choose_kernels(forced);
  const PairKernels* const pairs = pair_kernels(kernels);
  const DotKernels* const dots = dot_kernels(kernels);
  std::string name = kernels.name;
  if (pairs) name += std::string(" with ") + pairs->name;
  if (dots) name += std::string(pairs ? " and " : " with ") + dots->name;
  return forced && *forced ? name + " (forced by " + kVariable + ")" : name + " (best of " + names_of_supported() + ")";
}

}  // namespace moe::cpu
