#include "cpu/kernels.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace moe::cpu {

#if defined(__x86_64__)
namespace avx512vnni {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
namespace avx2 {
extern const Kernels table;
}
namespace baseline {
extern const Kernels table;
}
#elif defined(__aarch64__)
namespace neon {
extern const Kernels table;
}
#endif

namespace {

constexpr const char* kVariable = "MOE_CPU_ISA";

constexpr const Kernels* kBestFirst[] = {
#if defined(__x86_64__)
    &avx512vnni::table, &avx512::table, &avx2::table, &baseline::table
#elif defined(__aarch64__)
    &neon::table
#endif
};

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
