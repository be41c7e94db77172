#include "addon/layer_object.h"

#include <algorithm>

#include "addon/arguments.h"
#include "addon/cancellation_object.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/packed_parts.h"

namespace moe {

Napi::Function LayerObject::define(Napi::Env env) {
  return DefineClass(
      env, "Layer",
      {InstanceAccessor<&LayerObject::weight_bytes>("weightBytes"), InstanceAccessor<&LayerObject::notes>("notes"),
       InstanceAccessor<&LayerObject::profile>("profile"), InstanceMethod<&LayerObject::packed>("packed"),
       InstanceMethod<&LayerObject::read_packed>("readPacked"), InstanceMethod<&LayerObject::forward>("forward"),
       InstanceMethod<&LayerObject::forward_sync>("forwardSync"), InstanceMethod<&LayerObject::close>("close"),
       InstanceMethod<&LayerObject::sum_over_group>("sumOverGroup"),
       InstanceMethod<&LayerObject::next_call>("nextCall"),
       InstanceAccessor<&LayerObject::number_in_group>("numberInGroup")});
}

Napi::Object LayerObject::make(Napi::Env env, std::shared_ptr<LiveLayer> live) {
  const Napi::Object object = Environment::of(env).layer_constructor.New({});
  LayerObject& self = *Unwrap(object);
  self.live_ = std::move(live);
  self.notes_ = self.live_->layer->notes();
  self.profile_ = self.live_->layer->profile();
  self.reported_bytes_ = static_cast<int64_t>(self.live_->layer->weight_bytes());
  Napi::MemoryManagement::AdjustExternalMemory(env, self.reported_bytes_);
  return object;
}

LayerObject::LayerObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LayerObject>(info) {}

LayerObject::~LayerObject() { report_freed(); }

void LayerObject::report_freed() {
  if (reported_bytes_ > 0) Napi::MemoryManagement::AdjustExternalMemory(Env(), -reported_bytes_);
  reported_bytes_ = 0;
}

Napi::Value LayerObject::weight_bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(reported_bytes_));
}

Napi::Value LayerObject::packed(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_) throw Error(ErrorCode::kClosed, "The layer is closed");
    return describe_packed(info.Env(), live_->layer->packed());
  });
}

Napi::Value LayerObject::read_packed(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_) throw Error(ErrorCode::kClosed, "The layer is closed");
    return read_part(info.Env(), live_->layer->packed(), info[0], info[1], info[2]);
  });
}

Napi::Value LayerObject::notes(const Napi::CallbackInfo& info) {
  return list_of(info.Env(), notes_, [](const std::string& note) { return note; });
}

Napi::Value LayerObject::profile(const Napi::CallbackInfo& info) {
  const Napi::Array list = Napi::Array::New(info.Env());
  for (size_t stage = 0; profile_ && stage < kStageNames.size(); ++stage) {
    const Profile::Sum& sum = profile_->sums()[stage];
    const Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("stage", Napi::String::New(info.Env(), kStageNames[stage]));
    entry.Set("count", Napi::Number::New(info.Env(), static_cast<double>(sum.count)));
    entry.Set("seconds", Napi::Number::New(info.Env(), static_cast<double>(sum.nanoseconds) * 1e-9));
    list.Set(list.Length(), entry);
  }
  return list;
}

std::pair<std::shared_ptr<EnvironmentJob>, size_t> LayerObject::job_for(const Napi::CallbackInfo& info) {
  if (!live_) throw Error(ErrorCode::kClosed, "The layer is closed");
  const std::shared_ptr<LiveLayer> live = live_;  // reading the call may run JavaScript that closes the layer
  if (!info[0].IsObject()) throw Error(ErrorCode::kShape, "Expected the call to be an object");
  const auto call = info[0].As<Napi::Object>();
  auto job = forward_job(live, Value(), call);
  CancellationObject::attach(call.Get("cancellation"), job);
  if (!live_) throw Error(ErrorCode::kClosed, "The layer is closed");
  return {std::move(job), live->max_waiting};
}

Napi::Value LayerObject::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto [job, max_waiting] = job_for(info);
    const Napi::Promise promise = Environment::of(info.Env()).start(job, max_waiting);
    std::erase_if(calls_, [](const auto& call) { return call.expired(); });
    calls_.push_back(job);
    return promise;
  });
}

void LayerObject::forward_sync(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const auto [job, max_waiting] = job_for(info);
    Environment::of(info.Env()).run(job, max_waiting);
  });
}

Napi::Value LayerObject::sum_over_group(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_) throw Error(ErrorCode::kClosed, "The layer is closed");
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array)
      throw Error(ErrorCode::kShape, "Expected `values` to be a Float64Array");
    auto array = info[0].As<Napi::Float64Array>();
    const std::span<double> values(array.Data(), array.ElementLength());
    return run_on(
        info.Env(), live_->device,
        [live = live_, keep = Napi::Persistent(array), values](EnvironmentJob&) {
          live->layer->sum_over_group(values);
        },
        Undefined(), live_->max_waiting);
  });
}

Napi::Value LayerObject::next_call(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_) throw Error(ErrorCode::kClosed, "The layer is closed");
    return run_on(
        info.Env(), live_->device, [live = live_](EnvironmentJob&) { return live->layer->next_call(); },
        [](Napi::Env env, int64_t number) { return Napi::Number::New(env, static_cast<double>(number)); },
        live_->max_waiting);
  });
}

Napi::Value LayerObject::number_in_group(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), live_ ? live_->layer->number_in_group() : 0);
}

// Frees the weights on the lane, behind the call that may still run.
Napi::Value LayerObject::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_) return resolved(info.Env());
    for (const auto& call : calls_)
      if (const auto job = call.lock()) job->withdraw_if_waiting(ErrorCode::kClosed);
    calls_.clear();
    report_freed();
    const auto live = std::move(live_);
    return run_on(info.Env(), live->device, [live](EnvironmentJob&) { live->layer.reset(); });
  });
}

}  // namespace moe
