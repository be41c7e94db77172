// What a device family offers before a device is opened. The CPU is built in; the others are shared libraries that
// export `moe_plugin`.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/build_id.h"  // of the build folder
#include "core/device.h"

namespace moe {

struct DeviceInfo {
  int index;
  std::string name;     // "AMD EPYC ..."
  std::string kernels;  // which kernels were chosen and why: "avx512 (best of avx512, avx2, baseline)"
  int threads;          // 0 where the word has no meaning
  size_t memory_bytes;  // 0 when unknown
  bool emulated;        // true for a stand-in used in tests
  Capabilities capabilities;
};

// Plugins and the addon come from one build: build_id must match, so no C table is needed between them.
struct Plugin {
  const char* build_id;
  const char* name;                      // "cpu", "cuda", "ascend"
  std::string (*why_unavailable)();      // empty when it can run here
  std::vector<DeviceInfo> (*devices)();  // called only when available
  std::unique_ptr<Device> (*open)(int index);
};

// Version and interface of this build, the same string in the addon and in its plugins.
constexpr const char* kBuildId = MOE_BUILD_ID;

}  // namespace moe

extern "C" __attribute__((visibility("default"))) const moe::Plugin* moe_plugin();
