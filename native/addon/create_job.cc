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

// Packs a layer's weights on the lane. The arrays and files they stand in are borrowed until it ends.
class CreateJob final : public EnvironmentJob {
 public:
  CreateJob(Environment& environment, Napi::Env env, std::shared_ptr<LiveLayer> live, Napi::Object weights,
            Napi::Value on_progress, std::optional<ParallelOptions> parallel)
      : EnvironmentJob(environment, live->device),
        live_(std::move(live)),
        deferred_(env),
        arguments_(read_weights(weights)),
        keep_(Napi::Persistent(weights)),
        parallel_(std::move(parallel)) {
    if (on_progress.IsFunction()) on_progress_ = Napi::Persistent(on_progress.As<Napi::Function>());
  }

  Napi::Promise promise() { return deferred_.Promise(); }

  void report(Napi::Env env) override {
    const int64_t done = done_.load(), total = total_.load();
    if (on_progress_.IsEmpty() || done == reported_ || failure_) return;
    reported_ = done;
    try {
      on_progress_.Call(
          {Napi::Number::New(env, static_cast<double>(done)), Napi::Number::New(env, static_cast<double>(total))});
    } catch (const Napi::Error& thrown) {
      failure_ = std::make_unique<Napi::Error>(thrown);
      cancel(ErrorCode::kAborted);
    }
  }

  void settle(Napi::Env env, std::exception_ptr error) override {
    if (!error) report(env);
    if (failure_)
      deferred_.Reject(failure_->Value());
    else if (error)
      deferred_.Reject(to_js(env, error).Value());
    else
      deferred_.Resolve(LayerObject::make(env, std::move(live_)));
  }

 private:
  void work() override {
    for (const auto& file : arguments_.files) file->expect_unshortened();
    const auto progress = [this](int64_t done, int64_t total) {
      done_ = done;
      total_ = total;
      request_report();
    };
    live_->layer = std::make_shared<Layer>(device().backend(), live_->spec, arguments_.weights, progress,
                                           stop().get_token(), std::move(parallel_));
  }

  std::shared_ptr<LiveLayer> live_;
  Napi::Promise::Deferred deferred_;
  WeightArguments arguments_;
  Napi::ObjectReference keep_;
  std::optional<ParallelOptions> parallel_;
  Napi::FunctionReference on_progress_;
  std::unique_ptr<Napi::Error> failure_;  // what the user's callback threw
  std::atomic<int64_t> done_{0}, total_{0};
  int64_t reported_ = -1;
};

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
    const auto job = std::make_shared<CreateJob>(Environment::of(env), env, live, info[3].As<Napi::Object>(), info[4],
                                                 read_parallel(info[6], live->spec.moe.expert_num));
    CancellationObject::attach(info[5], job);
    Environment::of(env).start(job, SIZE_MAX);
    return job->promise();
  });
}

}  // namespace moe
