#include "addon/cancellation_object.h"

namespace moe {
namespace {

constexpr napi_type_tag kCancellationTag = {0x6d6f652d63616e63, 0x51c0a8f96b3d4e27};

}  // namespace

Napi::Function CancellationObject::define(Napi::Env env) {
  return DefineClass(env, "Cancellation", {InstanceMethod<&CancellationObject::cancel>("cancel")});
}

CancellationObject::CancellationObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CancellationObject>(info) {
  Value().TypeTag(&kCancellationTag);
}

void CancellationObject::attach(Napi::Value value, const std::shared_ptr<EnvironmentJob>& job) {
  if (value.IsUndefined()) return;
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kCancellationTag))
    throw Error(ErrorCode::kShape, "Expected `cancellation` to be a Cancellation");
  Unwrap(value.As<Napi::Object>())->job_ = job;
}

void CancellationObject::cancel(const Napi::CallbackInfo&) {
  if (const auto job = job_.lock()) job->cancel(ErrorCode::kAborted);
}

}  // namespace moe
