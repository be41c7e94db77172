// The native half of MoEModel.
#pragma once
#include <memory>
#include <vector>

#include "addon/environment.h"
#include "addon/mapped_file.h"
#include "addon/napi_setup.h"
#include "core/decoder/decoder.h"

namespace moe {

// A model in use: whoever holds it last has its weights freed on the thread of its device. It dies on the JS thread.
struct LiveModel {
  explicit LiveModel(std::shared_ptr<DeviceLane> lane) : device(std::move(lane)) {}
  ~LiveModel() {
    if (decoder) device->release(std::move(decoder));
  }
  LiveModel(const LiveModel&) = delete;

  std::shared_ptr<DeviceLane> device;
  std::shared_ptr<Decoder> decoder;
  DecoderSpec spec;
  size_t max_waiting = 0;
  // What steps read of the embedding, from `finish` on.
  Napi::ObjectReference embedding;
  std::vector<std::shared_ptr<MappedFile>> files;
  bool loaded = false;  // on the JS thread
};

class ModelObject final : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<LiveModel> live);

  explicit ModelObject(const Napi::CallbackInfo& info);
  ~ModelObject() override;

 private:
  Napi::Value weight_bytes(const Napi::CallbackInfo& info);
  Napi::Value cache_bytes(const Napi::CallbackInfo& info);
  // (layer, views, onProgress?, cancellation?) -> Promise<void>
  Napi::Value add_layer(const Napi::CallbackInfo& info);
  // (views, cancellation?) -> Promise<void>
  Napi::Value finish(const Napi::CallbackInfo& info);
  // (tokens, newTokens, sampling) -> { sequence, cached } | undefined
  Napi::Value admit(const Napi::CallbackInfo& info);
  Napi::Value step(const Napi::CallbackInfo& info);
  void release(const Napi::CallbackInfo& info);
  Napi::Value usage(const Napi::CallbackInfo& info);
  Napi::Value expert_load(const Napi::CallbackInfo& info);
  // Of a layer, or of what stands behind them: (layer?) -> { layout, parts }, while no call runs.
  Napi::Value packed(const Napi::CallbackInfo& info);
  // (layer | undefined, part, offset, length) -> Uint8Array
  Napi::Value read_packed(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  // Throws kClosed. Reading arguments may run JavaScript that closes the model, so it is asked for when they are read.
  const std::shared_ptr<LiveModel>& live() const;
  Sequences& sequences() const;
  PackedWeights packed_at(const Napi::Value& layer) const;
  Napi::Promise start(Napi::Env env, const std::shared_ptr<EnvironmentJob>& job);
  // A job that changes what the model weighs.
  template <class Work>
  std::shared_ptr<EnvironmentJob> loading_job(Napi::Env env, Work work);
  void report(size_t weight_bytes, size_t cache_bytes);

  std::shared_ptr<LiveModel> live_;  // null after close
  std::vector<std::weak_ptr<EnvironmentJob>> calls_;
  int64_t weight_bytes_ = 0, cache_bytes_ = 0;
  int64_t reported_bytes_ = 0;  // what V8 was told this object weighs
};

// Makes a model without layers on a device's lane: (device, index, spec) -> Promise<Model>.
Napi::Value create_model(const Napi::CallbackInfo& info);

}  // namespace moe
