// A plugin that computes on the host and fails where it is told to: MOE_FAKE_FAIL names a method of Device, or `open`,
// and that call throws kOutOfMemory from `allocate`, kDevice from any other. MOE_FAKE_UNAVAILABLE is the reason why it
// cannot run here. Both are read when the call is made.
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "core/plugin.h"
#include "fakes/host_device.h"

#ifndef MOE_FAKE_BUILD_ID
#define MOE_FAKE_BUILD_ID moe::kBuildId
#endif

namespace moe::test {
namespace {

void fail_if_told(const std::string& call) {
  const char* const failing = std::getenv("MOE_FAKE_FAIL");
  if (!failing || call != failing) return;
  if (call == "allocate") throw Error(ErrorCode::kOutOfMemory, "The fake device is out of memory");
  throw Error(ErrorCode::kDevice, "The fake device failed in " + call);
}

class FakeDevice final : public HostDevice {
 public:
  void* allocate(size_t bytes) override {
    fail_if_told("allocate");
    return HostDevice::allocate(bytes);
  }
  void upload(void* device, const void* host, size_t bytes) override {
    fail_if_told("upload");
    HostDevice::upload(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    fail_if_told("download");
    HostDevice::download(host, device, bytes);
  }
  std::unique_ptr<PreparedLayer> prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                         const std::stop_token& stop) override {
    fail_if_told("prepare");
    return HostDevice::prepare(spec, host, progress, stop);
  }
  void route(const PreparedLayer& layer, Matrix hidden, const Routing& out) override {
    fail_if_told("route");
    HostDevice::route(layer, hidden, out);
  }
  void plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) override {
    fail_if_told("plan");
    HostDevice::plan(experts, num_experts, out);
  }
  void run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                   const std::stop_token& stop) override {
    fail_if_told("run_experts");
    HostDevice::run_experts(layer, hidden, plan, out, stop);
  }
  void run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) override {
    fail_if_told("run_shared");
    HostDevice::run_shared(layer, hidden, out, stop);
  }
  void combine(const PreparedLayer& layer, Matrix rows, const Routing& routing, const DispatchPlan& plan, Matrix shared,
               Matrix out) override {
    fail_if_told("combine");
    HostDevice::combine(layer, rows, routing, plan, shared, out);
  }
  void synchronize() override { fail_if_told("synchronize"); }
};

std::string why_unavailable() {
  const char* const reason = std::getenv("MOE_FAKE_UNAVAILABLE");
  return reason ? reason : "";
}

std::vector<DeviceInfo> devices() {
  const DeviceInfo device{0, "Fake device", "host loops", 0, 0, true};
  std::vector<DeviceInfo> both{device, device};
  both[1].index = 1;
  return both;
}

std::unique_ptr<Device> open(int) {
  fail_if_told("open");
  return std::make_unique<FakeDevice>();
}

}  // namespace
}  // namespace moe::test

extern "C" const moe::Plugin* moe_plugin() {
  static const moe::Plugin plugin{MOE_FAKE_BUILD_ID, "cuda", moe::test::why_unavailable, moe::test::devices,
                                  moe::test::open};
  return &plugin;
}
