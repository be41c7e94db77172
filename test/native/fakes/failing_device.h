// A device that fails where it is told to: `fails` is asked with the name of each method before it does its work.
#pragma once
#include <functional>
#include <string>

#include "core/error.h"
#include "fakes/host_device.h"

namespace moe::test {

// Every method of Device and of MoeStages that may throw.
constexpr const char* kFailing[] = {
    "allocate",       "upload",          "download",       "gather",   "place_columns",  "connect",      "synchronize",
    "prepare_router", "prepare_experts", "prepare_shared", "route",    "plan",           "plan_choices", "run",
    "run_shared",     "combine",         "run_up",         "run_down", "prepare_linear", "linear"};

class FailingDevice : public HostDevice {
 public:
  using Fails = std::function<bool(const std::string& call)>;
  explicit FailingDevice(Fails fails) : fails_(std::move(fails)) {}

  void* allocate(size_t bytes) override { return check("allocate"), HostDevice::allocate(bytes); }
  void upload(void* device, const void* host, size_t bytes) override {
    check("upload"), HostDevice::upload(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    check("download"), HostDevice::download(host, device, bytes);
  }
  void gather(Matrix in, std::span<const int32_t> index, Matrix out) override {
    check("gather"), HostDevice::gather(in, index, out);
  }
  void place_columns(Matrix part, int64_t first_column, Matrix out) override {
    check("place_columns"), HostDevice::place_columns(part, first_column, out);
  }
  std::unique_ptr<Collective> connect(Collective& host) override { return check("connect"), HostDevice::connect(host); }
  void synchronize() override { check("synchronize"); }

  std::unique_ptr<PreparedRouter> prepare_router(const LayerSpec& spec, const LayerWeights& host) override {
    return check("prepare_router"), HostDevice::prepare_router(spec, host);
  }
  std::unique_ptr<PreparedExperts> prepare_experts(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                   const std::stop_token& stop) override {
    return check("prepare_experts"), HostDevice::prepare_experts(spec, host, progress, stop);
  }
  std::unique_ptr<PreparedExperts> prepare_shared(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                  const std::stop_token& stop) override {
    return check("prepare_shared"), HostDevice::prepare_shared(spec, host, progress, stop);
  }
  std::unique_ptr<Routing> route(const PreparedRouter& router, const Tokens& tokens,
                                 const RoutingArrays& out) override {
    return check("route"), HostDevice::route(router, tokens, out);
  }
  std::unique_ptr<PreparedLinear> prepare_linear(const LinearSpec& spec, const WeightMatrix& matrix,
                                                 const std::optional<PackedWeights>& packed) override {
    return check("prepare_linear"), HostDevice::prepare_linear(spec, matrix, packed);
  }
  void linear(const PreparedLinear& linear, Matrix in, Matrix added, Matrix out, const std::stop_token& stop) override {
    check("linear"), HostDevice::linear(linear, in, added, out, stop);
  }
  std::unique_ptr<Plan> plan(const Routing& routing) override { return check("plan"), HostDevice::plan(routing); }
  std::unique_ptr<Plan> plan(std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) override {
    return check("plan_choices"), HostDevice::plan(choices, num_experts, fan_out);
  }
  void run(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix out,
           const std::stop_token& stop) override {
    check("run"), HostDevice::run(experts, hidden, plan, out, stop);
  }
  void run_shared(const PreparedExperts& shared, const Tokens& tokens, Matrix out,
                  const std::stop_token& stop) override {
    check("run_shared"), HostDevice::run_shared(shared, tokens, out, stop);
  }
  void combine(const PreparedExperts& experts, Matrix rows, const Routing& routing, const Plan& plan, Matrix shared,
               Matrix out) override {
    check("combine"), HostDevice::combine(experts, rows, routing, plan, shared, out);
  }
  void run_up(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix intermediate,
              const std::stop_token& stop) override {
    check("run_up"), HostDevice::run_up(experts, hidden, plan, intermediate, stop);
  }
  void run_down(const PreparedExperts& experts, Matrix intermediate, const Plan& plan, Matrix out,
                const std::stop_token& stop) override {
    check("run_down"), HostDevice::run_down(experts, intermediate, plan, out, stop);
  }

 private:
  void check(const std::string& call) const {
    if (!fails_(call)) return;
    if (call == "allocate") throw Error(ErrorCode::kOutOfMemory, "The fake device is out of memory");
    throw Error(ErrorCode::kDevice, "The fake device failed in " + call);
  }

  Fails fails_;
};

}  // namespace moe::test
