// One call of a layer, from the arrays of JavaScript to the promise.
#pragma once
#include <memory>
#include <optional>

#include "addon/environment.h"
#include "addon/live_layer.h"

namespace moe {

class ForwardJob final : public EnvironmentJob {
 public:
  // Reads and checks the call's arrays, which stay borrowed as long as the job lives. `owner` is the layer's object.
  ForwardJob(Environment& environment, std::shared_ptr<LiveLayer> live, Napi::Object owner, Napi::Object call);

  // To be called for a job that settles a promise.
  Napi::Promise promise(Napi::Env env);

  void settle(Napi::Env env, std::exception_ptr error) override;

 private:
  void work() override;

  std::shared_ptr<LiveLayer> live_;
  Napi::ObjectReference owner_, call_;
  std::optional<Napi::Promise::Deferred> deferred_;
  HostBatch batch_;
  ForwardOutput out_;
  double* totals_ = nullptr;  // auxLoss, zLoss, droppedChoices, capacity
};

}  // namespace moe
