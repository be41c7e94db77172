#include "addon/forward_job.h"

#include "addon/arguments.h"
#include "addon/errors.h"

namespace moe {
namespace {

constexpr size_t kNumTotals = 4;

template <class T>
T* array_or_null(Napi::Object call, const char* name, napi_typedarray_type type, size_t count) {
  static T nothing;  // an empty array has no memory of its own, but it was given
  const auto array = read_array(call, name, type, count);
  if (!array) return nullptr;
  return array->data ? static_cast<T*>(array->data) : &nothing;
}

}  // namespace

ForwardJob::ForwardJob(Environment& environment, std::shared_ptr<LiveLayer> live, Napi::Object owner, Napi::Object call)
    : EnvironmentJob(environment, live->device),
      live_(std::move(live)),
      owner_(Napi::Persistent(owner)),
      call_(Napi::Persistent(call)) {
  const LayerSpec& spec = live_->spec;
  const DType dtype = read_dtype(call, "dtype");
  const int64_t tokens = read_integer(call, "tokens", 0, INT32_MAX);
  const auto values = static_cast<size_t>(tokens) * static_cast<size_t>(spec.hidden_size);
  const auto slots = static_cast<size_t>(tokens) * static_cast<size_t>(spec.moe.num_experts_chosen);
  const auto hidden =
      read_array(call, "hidden", dtype == DType::kFloat32 ? napi_float32_array : napi_uint16_array, values);
  if (!hidden) throw Error(ErrorCode::kShape, "Expected `hidden` to be a typed array");
  batch_ = {hidden->data, dtype, tokens};
  out_.output = array_or_null<float>(call, "output", napi_float32_array, values);
  out_.expert_ids = array_or_null<int32_t>(call, "expertIds", napi_int32_array, slots);
  out_.weights = array_or_null<float>(call, "weights", napi_float32_array, slots);
  out_.expert_load =
      array_or_null<uint32_t>(call, "expertLoad", napi_uint32_array, static_cast<size_t>(spec.moe.expert_num));
  totals_ = array_or_null<double>(call, "totals", napi_float64_array, kNumTotals);
}

Napi::Promise ForwardJob::promise(Napi::Env env) { return deferred_.emplace(env).Promise(); }

void ForwardJob::work() {
  RoutingTotals totals{};
  if (totals_) out_.totals = &totals;
  live_->layer->forward(device().workspace(), batch_, out_, stop().get_token());
  if (!totals_) return;
  totals_[0] = totals.aux_loss;
  totals_[1] = totals.z_loss;
  totals_[2] = static_cast<double>(totals.dropped_choices);
  totals_[3] = static_cast<double>(totals.capacity);
}

void ForwardJob::settle(Napi::Env env, std::exception_ptr error) {
  if (error)
    deferred_->Reject(to_js(env, error).Value());
  else
    deferred_->Resolve(env.Undefined());
}

}  // namespace moe
