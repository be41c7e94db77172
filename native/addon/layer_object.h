// The native half of MoELayer.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "addon/environment.h"
#include "addon/napi_setup.h"
#include "core/layer/layer.h"

namespace moe {

// A layer in use: whoever holds it last has its weights freed on the thread of its device.
struct LiveLayer {
  explicit LiveLayer(std::shared_ptr<DeviceLane> lane) : device(std::move(lane)) {}
  ~LiveLayer() {
    if (layer) device->release(std::move(layer));
  }
  LiveLayer(const LiveLayer&) = delete;

  std::shared_ptr<DeviceLane> device;
  std::shared_ptr<Layer> layer;
  LayerSpec spec;
  size_t max_waiting = 0;
};

class LayerObject final : public Napi::ObjectWrap<LayerObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<LiveLayer> live);

  explicit LayerObject(const Napi::CallbackInfo& info);
  ~LayerObject() override;

 private:
  // Tells what its device made of the weights: { layout, parts: [{ name, byteLength }] }.
  Napi::Value packed(const Napi::CallbackInfo& info);
  // Takes (part, offset, length) and copies the bytes into a Uint8Array.
  Napi::Value read_packed(const Napi::CallbackInfo& info);
  Napi::Value weight_bytes(const Napi::CallbackInfo& info);
  Napi::Value notes(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  void forward_sync(const Napi::CallbackInfo& info);
  Napi::Value sum_over_group(const Napi::CallbackInfo& info);
  Napi::Value next_call(const Napi::CallbackInfo& info);
  // [{ stage, count, seconds }], after close, too; empty where nothing takes the times.
  Napi::Value profile(const Napi::CallbackInfo& info);
  Napi::Value number_in_group(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  // The job, and the calls that may wait before it is refused.
  std::pair<std::shared_ptr<EnvironmentJob>, size_t> job_for(const Napi::CallbackInfo& info);
  void report_freed();

  std::shared_ptr<LiveLayer> live_;  // null after close
  std::vector<std::weak_ptr<EnvironmentJob>> calls_;
  std::vector<std::string> notes_;
  std::shared_ptr<const Profile> profile_;
  int64_t reported_bytes_ = 0;  // what V8 was told this object weighs
};

// Makes one call of a layer. Reads and checks the call's arrays, which stay borrowed as long as the job lives. `owner`
// is the layer's object.
std::shared_ptr<EnvironmentJob> forward_job(std::shared_ptr<LiveLayer> live, Napi::Object owner, Napi::Object call);

// Makes a layer on a device's lane: (device, index, spec, weights, onProgress?, cancellation?, parallel?, profile?)
// -> Promise<Layer>.
Napi::Value create_layer(const Napi::CallbackInfo& info);

}  // namespace moe
