#include <optional>

#include "addon/arguments.h"
#include "addon/cancellation_object.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/group_object.h"
#include "addon/layer_object.h"

namespace moe {
namespace {

std::optional<ParallelOptions> read_parallel(Napi::Value value, int32_t num_experts) {
  if (value.IsUndefined()) return std::nullopt;
  if (!value.IsObject()) throw Error(ErrorCode::kShape, "Expected `parallel` to be an object");
  const auto from = value.As<Napi::Object>();
  const std::shared_ptr<ExpertGroup> group = GroupObject::from(from.Get("group"));
  if (!group) throw Error(ErrorCode::kShape, "Expected `group` to be a group");
  std::vector<std::vector<int32_t>> experts_of_set;
  const Napi::Value sets = from.Get("expertsOfSet");
  if (!sets.IsArray() || sets.As<Napi::Array>().Length() != static_cast<uint32_t>(group->shape().sets()))
    throw Error(ErrorCode::kShape, "Expected `expertsOfSet` to be a list for each set of ranks");
  for (uint32_t set = 0; set < sets.As<Napi::Array>().Length(); ++set) {
    const Napi::Value experts = sets.As<Napi::Array>().Get(set);
    if (!experts.IsTypedArray() || experts.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
      throw Error(ErrorCode::kShape, "Expected each list of `expertsOfSet` to be an Int32Array");
    const auto list = experts.As<Napi::Int32Array>();
    experts_of_set.emplace_back(list.Data(), list.Data() + list.ElementLength());
  }
  return ParallelOptions{group, Placement(num_experts, std::move(experts_of_set)),
                         static_cast<int32_t>(read_integer(from, "chunks", 1, INT32_MAX)), read_flag(from, "groupWise"),
                         read_text(from, "facts")};
}

}  // namespace

Napi::Value create_layer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Env env = info.Env();
    if (!info[0].IsString() || !info[1].IsNumber() || !info[2].IsObject() || !info[3].IsObject())
      throw Error(ErrorCode::kShape, "Expected (device, index, spec, weights)");
    const auto spec = info[2].As<Napi::Object>();
    const auto live = std::make_shared<LiveLayer>(
        device_lane(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Number>().Int32Value()));
    live->spec = read_spec(spec);
    live->max_waiting = static_cast<size_t>(read_integer(spec, "maxQueue", 1, INT64_C(1) << 53));
    const auto weights = info[3].As<Napi::Object>();
    // The arrays and files that the weights stand in are borrowed until the job ends.
    const auto job = make_job(
        env, live->device,
        [live, arguments = read_weights(weights), keep = Napi::Persistent(weights),
         parallel = read_parallel(info[6], live->spec.moe.expert_num),
         profile = info[7].ToBoolean().Value() ? std::make_shared<Profile>() : nullptr](EnvironmentJob& job) mutable {
          for (const auto& file : arguments.files) file->expect_unshortened();
          live->layer = std::make_shared<Layer>(
              job.device().backend(), live->spec, arguments.weights,
              [&](int64_t done, int64_t total) {
                for (const auto& file : arguments.files) file->release();  // what is packed is not read again
                job.report(done, total);
              },
              job.stop().get_token(), std::move(parallel), std::move(profile));
        },
        [live](Napi::Env env) { return LayerObject::make(env, live); });
    if (info[4].IsFunction()) job->on_progress(info[4].As<Napi::Function>());
    CancellationObject::attach(info[5], job);
    return Environment::of(env).start(job, SIZE_MAX);
  });
}

}  // namespace moe
