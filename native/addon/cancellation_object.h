// The handle by which JavaScript withdraws a waiting call or stops a running one.
#pragma once
#include <memory>

#include "addon/environment.h"
#include "addon/napi_setup.h"

namespace moe {

class CancellationObject final : public Napi::ObjectWrap<CancellationObject> {
 public:
  static Napi::Function define(Napi::Env env);
  // Ties the job to the cancellation in `value`; does nothing where it is undefined.
  static void attach(Napi::Value value, const std::shared_ptr<EnvironmentJob>& job);

  explicit CancellationObject(const Napi::CallbackInfo& info);

 private:
  void cancel(const Napi::CallbackInfo& info);

  std::weak_ptr<EnvironmentJob> job_;
};

}  // namespace moe
