#include "addon/model_object.h"

#include <algorithm>
#include <utility>

#include "addon/arguments.h"
#include "addon/cancellation_object.h"
#include "addon/errors.h"
#include "addon/model_arguments.h"
#include "addon/packed_parts.h"

namespace moe {
namespace {

Napi::Object as_object(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) throw Error(ErrorCode::kShape, std::string("Expected `") + name + "` to be an object");
  return value.As<Napi::Object>();
}

void expect_unshortened(const std::vector<std::shared_ptr<MappedFile>>& files) {
  for (const auto& file : files) file->expect_unshortened();
}

}  // namespace

Napi::Function ModelObject::define(Napi::Env env) {
  return DefineClass(
      env, "Model",
      {InstanceAccessor<&ModelObject::weight_bytes>("weightBytes"),
       InstanceAccessor<&ModelObject::cache_bytes>("cacheBytes"), InstanceMethod<&ModelObject::add_layer>("addLayer"),
       InstanceMethod<&ModelObject::finish>("finish"), InstanceMethod<&ModelObject::admit>("admit"),
       InstanceMethod<&ModelObject::step>("step"), InstanceMethod<&ModelObject::release>("release"),
       InstanceMethod<&ModelObject::usage>("usage"), InstanceMethod<&ModelObject::expert_load>("expertLoad"),
       InstanceMethod<&ModelObject::packed>("packed"), InstanceMethod<&ModelObject::read_packed>("readPacked"),
       InstanceMethod<&ModelObject::close>("close")});
}

Napi::Object ModelObject::make(Napi::Env env, std::shared_ptr<LiveModel> live) {
  const Napi::Object object = Environment::of(env).model_constructor.New({});
  Unwrap(object)->live_ = std::move(live);
  return object;
}

ModelObject::ModelObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelObject>(info) {}

ModelObject::~ModelObject() { report(0, 0); }

void ModelObject::report(size_t weight_bytes, size_t cache_bytes) {
  if (weight_bytes > 0) {
    weight_bytes_ = static_cast<int64_t>(weight_bytes);
    cache_bytes_ = static_cast<int64_t>(cache_bytes);
  }
  const auto all = static_cast<int64_t>(weight_bytes + cache_bytes);
  if (all != reported_bytes_) Napi::MemoryManagement::AdjustExternalMemory(Env(), all - reported_bytes_);
  reported_bytes_ = all;
}

const std::shared_ptr<LiveModel>& ModelObject::live() const {
  if (!live_) throw Error(ErrorCode::kClosed, "The model is closed");
  return live_;
}

Sequences& ModelObject::sequences() const {
  if (!live()->loaded) throw Error(ErrorCode::kShape, "Expected a model that has been loaded");
  return live_->decoder->sequences();
}

Napi::Value ModelObject::weight_bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(weight_bytes_));
}

Napi::Value ModelObject::cache_bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(cache_bytes_));
}

Napi::Promise ModelObject::start(Napi::Env env, const std::shared_ptr<EnvironmentJob>& job) {
  const Napi::Promise promise = Environment::of(env).start(job, live()->max_waiting);
  std::erase_if(calls_, [](const auto& call) { return call.expired(); });
  calls_.push_back(job);
  return promise;
}

template <class Work>
std::shared_ptr<EnvironmentJob> ModelObject::loading_job(Napi::Env env, Work work) {
  return make_job(
      env, live()->device,
      [live = live_, work = std::move(work)](EnvironmentJob& job) mutable {
        work(*live, job);
        return std::pair(live->decoder->weight_bytes(), live->decoder->cache_bytes());
      },
      [self = Napi::Persistent(Value())](Napi::Env env, std::pair<size_t, size_t> bytes) {
        ModelObject& object = *Unwrap(self.Value());
        if (object.live_) object.report(bytes.first, bytes.second);
        return env.Undefined();
      });
}

Napi::Value ModelObject::add_layer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const DecoderLayerSpec spec = read_decoder_layer(as_object(info[0], "layer"), live()->spec);
    const Napi::Object views = as_object(info[1], "views");
    DecoderLayerArguments arguments = read_decoder_views(views);
    const auto job = loading_job(info.Env(), [spec, arguments = std::move(arguments), keep = Napi::Persistent(views)](
                                                 LiveModel& live, EnvironmentJob& job) {
      expect_unshortened(arguments.files);
      live.decoder->add_layer(
          spec, arguments.weights,
          [&](int64_t done, int64_t total) {
            for (const auto& file : arguments.files) file->release();  // what is packed is not read again
            job.report(done, total);
          },
          job.stop().get_token());
    });
    if (info[2].IsFunction()) job->on_progress(info[2].As<Napi::Function>());
    CancellationObject::attach(info[3], job);
    return start(info.Env(), job);
  });
}

Napi::Value ModelObject::finish(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Env env = info.Env();
    const Napi::Object views = as_object(info[0], "views");
    OuterArguments arguments = read_outer_views(views);
    const Napi::Object embedding = read_object(views, "embedding");
    const auto keep = std::make_shared<Napi::ObjectReference>(Napi::Persistent(read_object(embedding, "source")));
    const std::vector<std::shared_ptr<MappedFile>> of_embedding = arguments.of_embedding;
    const auto job = make_job(
        env, live()->device,
        [live = live_, arguments = std::move(arguments), keep_all = Napi::Persistent(views)](EnvironmentJob&) {
          expect_unshortened(arguments.files);
          expect_unshortened(arguments.of_embedding);
          live->decoder->finish(arguments.weights);
          return std::pair(live->decoder->weight_bytes(), live->decoder->cache_bytes());
        },
        [live = live_, self = Napi::Persistent(Value()), keep, of_embedding](Napi::Env env,
                                                                             std::pair<size_t, size_t> bytes) {
          live->embedding = std::move(*keep);
          live->files = of_embedding;
          live->loaded = true;
          ModelObject& object = *Unwrap(self.Value());
          if (object.live_) object.report(bytes.first, bytes.second);
          return env.Undefined();
        });
    CancellationObject::attach(info[1], job);
    return start(env, job);
  });
}

PackedWeights ModelObject::packed_at(const Napi::Value& layer) const {
  const Decoder& decoder = *live()->decoder;
  return layer.IsUndefined() ? decoder.packed_head()
                             : decoder.packed_layer(static_cast<int64_t>(to_size(layer, "layer")));
}

Napi::Value ModelObject::packed(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return describe_packed(info.Env(), packed_at(info[0])); });
}

Napi::Value ModelObject::read_packed(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return read_part(info.Env(), packed_at(info[0]), info[1], info[2], info[3]); });
}

Napi::Value ModelObject::admit(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const int32_t vocabulary = live()->spec.vocabulary_size;
    const Napi::Object arguments = Napi::Object::New(env);
    arguments.Set("tokens", info[0]);
    arguments.Set("newTokens", info[1]);
    const std::vector<int32_t> tokens = read_integers(arguments, "tokens");
    const int64_t new_tokens = read_integer(arguments, "newTokens", 0, int64_t{1} << 40);
    for (const int32_t token : tokens)
      if (token < 0 || token >= vocabulary)
        throw Error(ErrorCode::kShape, "Expected `tokens` to be from 0 to " + std::to_string(vocabulary - 1) +
                                           ", got " + std::to_string(token));
    SamplingOptions sampling = read_sampling(as_object(info[2], "sampling"), vocabulary);
    const auto admission = sequences().admit(tokens, new_tokens, std::move(sampling),
                                             info[3].IsUndefined() || info[3].ToBoolean().Value());
    if (!admission) return env.Undefined();
    const Napi::Object result = Napi::Object::New(env);
    result.Set("sequence", admission->sequence);
    result.Set("cached", static_cast<double>(admission->cached));
    return result;
  });
}

Napi::Value ModelObject::step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object call = as_object(info[0], "step");
    StepArguments arguments = read_step(call, live()->spec);
    const Napi::Value cancellation = call.Get("cancellation");
    sequences();  // throws where it is not loaded, or was closed meanwhile
    const auto job = make_job(info.Env(), live_->device,
                              [live = live_, step = std::move(arguments.step), output = arguments.output,
                               keep = Napi::Persistent(static_cast<Napi::Object>(arguments.arrays)),
                               self = Napi::Persistent(Value())](EnvironmentJob& job) {
                                expect_unshortened(live->files);
                                live->decoder->step(job.device().workspace(), step, output, job.stop().get_token());
                              });
    CancellationObject::attach(cancellation, job);
    return start(info.Env(), job);
  });
}

void ModelObject::release(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const size_t sequence = to_size(info[0], "sequence");
    sequences().release(static_cast<int32_t>(std::min<size_t>(sequence, INT32_MAX)));
  });
}

Napi::Value ModelObject::usage(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const BlockUsage usage = sequences().usage();
    const Napi::Object result = Napi::Object::New(info.Env());
    result.Set("blocks", static_cast<double>(usage.blocks));
    result.Set("freeBlocks", static_cast<double>(usage.free));
    result.Set("keptBlocks", static_cast<double>(usage.kept));
    result.Set("sequences", static_cast<double>(sequences().count()));
    return result;
  });
}

Napi::Value ModelObject::expert_load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const size_t layer = to_size(info[0], "layer");
    const std::vector<double> load = live()->decoder->expert_load(static_cast<int64_t>(layer));
    Napi::Float64Array result = Napi::Float64Array::New(info.Env(), load.size());
    for (size_t expert = 0; expert < load.size(); ++expert) result[expert] = load[expert];
    return result;
  });
}

// Frees the model on the lane, behind the step that may still run.
Napi::Value ModelObject::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!live_) return resolved(info.Env());
    for (const auto& call : calls_)
      if (const auto job = call.lock()) job->withdraw_if_waiting(ErrorCode::kClosed);
    calls_.clear();
    report(0, 0);
    const auto live = std::move(live_);
    return run_on(info.Env(), live->device, [live](EnvironmentJob&) { live->decoder.reset(); });
  });
}

Napi::Value create_model(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!info[0].IsString() || !info[1].IsNumber() || !info[2].IsObject())
      throw Error(ErrorCode::kShape, "Expected (device, index, spec)");
    const auto spec = info[2].As<Napi::Object>();
    const auto live = std::make_shared<LiveModel>(
        device_lane(info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Number>().Int32Value()));
    live->spec = read_decoder_spec(spec);
    live->max_waiting = static_cast<size_t>(read_integer(spec, "maxQueue", 1, INT64_C(1) << 53));
    return run_on(
        info.Env(), live->device,
        [live](EnvironmentJob& job) { live->decoder = std::make_shared<Decoder>(job.device().backend(), live->spec); },
        [live](Napi::Env env) { return ModelObject::make(env, live); });
  });
}

}  // namespace moe
