// A plugin that computes on the host and fails where it is told to: MOE_FAKE_FAIL names a method of FailingDevice, or
// `open`, and that call throws kOutOfMemory from `allocate`, kDevice from any other. MOE_FAKE_UNAVAILABLE is the reason
// why it cannot run here. Both are read when the call is made.
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "core/plugin.h"
#include "fakes/failing_device.h"

#ifndef MOE_FAKE_BUILD_ID
#define MOE_FAKE_BUILD_ID moe::kBuildId
#endif

namespace moe::test {
namespace {

bool is_told_to_fail(const std::string& call) {
  const char* const failing = std::getenv("MOE_FAKE_FAIL");
  return failing && call == failing;
}

std::string why_unavailable() {
  const char* const reason = std::getenv("MOE_FAKE_UNAVAILABLE");
  return reason ? reason : "";
}

std::vector<DeviceInfo> devices() {
  const DeviceInfo device{0, "Fake device", "host loops", 0, 0, true, HostDevice().capabilities()};
  std::vector<DeviceInfo> both{device, device};
  both[1].index = 1;
  return both;
}

std::unique_ptr<Device> open(int) {
  if (is_told_to_fail("open")) throw Error(ErrorCode::kDevice, "The fake device failed in open");
  return std::make_unique<FailingDevice>(is_told_to_fail);
}

}  // namespace
}  // namespace moe::test

extern "C" const moe::Plugin* moe_plugin() {
  static const moe::Plugin plugin{MOE_FAKE_BUILD_ID, "cuda", moe::test::why_unavailable, moe::test::devices,
                                  moe::test::open};
  return &plugin;
}
