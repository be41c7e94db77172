// What require() gives: src/binding/native.ts declares the same surface.
#include "addon/cancellation_object.h"
#include "addon/device_lane.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/group_object.h"
#include "addon/layer_object.h"
#include "addon/machine_peak_job.h"
#include "addon/mapped_file.h"
#include "core/weight_format.h"

namespace moe {
namespace {

Napi::Array describe(Napi::Env env, const std::vector<HeldWeights>& weights) {
  const Napi::Array list = Napi::Array::New(env);
  for (const HeldWeights& held : weights) {
    const Napi::Object object = Napi::Object::New(env);
    const Napi::Array groups = Napi::Array::New(env);
    for (const int32_t group : held.groups) groups.Set(groups.Length(), Napi::Number::New(env, group));
    object.Set("type", Napi::String::New(env, format_of(held.type).name));
    object.Set("groups", groups);
    object.Set("int8Rows", Napi::Boolean::New(env, held.int8_rows));
    list.Set(list.Length(), object);
  }
  return list;
}

Napi::Object describe(Napi::Env env, const DeviceInfo& device) {
  const Napi::Object object = Napi::Object::New(env);
  object.Set("index", Napi::Number::New(env, device.index));
  object.Set("name", Napi::String::New(env, device.name));
  object.Set("kernels", Napi::String::New(env, device.kernels));
  object.Set("threads", Napi::Number::New(env, device.threads));
  object.Set("memoryBytes", Napi::Number::New(env, static_cast<double>(device.memory_bytes)));
  object.Set("emulated", Napi::Boolean::New(env, device.emulated));
  object.Set("weights", describe(env, device.capabilities.weights));
  object.Set("maxExperts", Napi::Number::New(env, device.capabilities.max_experts));
  return object;
}

Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const Napi::Array list = Napi::Array::New(env);
    for (const FamilyStatus& status : registry().list()) {
      const Napi::Object object = Napi::Object::New(env);
      const Napi::Array found = Napi::Array::New(env);
      for (const DeviceInfo& device : status.devices) found.Set(found.Length(), describe(env, device));
      object.Set("name", Napi::String::New(env, status.name));
      object.Set("reason", Napi::String::New(env, status.reason));
      object.Set("devices", found);
      list.Set(list.Length(), object);
    }
    return list;
  });
}

Napi::Value map_file(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!info[0].IsString()) throw Error(ErrorCode::kShape, "Expected `path` to be a string");
    return FileObject::open(info.Env(), info[0].As<Napi::String>().Utf8Value());
  });
}

Napi::Value add_plugin_folder_of(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!info[0].IsString()) throw Error(ErrorCode::kShape, "Expected `folder` to be a string");
    add_plugin_folder(info[0].As<Napi::String>().Utf8Value());
    return info.Env().Undefined();
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  const auto environment = new Environment(env);
  env.SetInstanceData(environment);  // deleted with the environment
  const Napi::Function cancellation = CancellationObject::define(env);
  environment->file_constructor = Napi::Persistent(FileObject::define(env));
  environment->layer_constructor = Napi::Persistent(LayerObject::define(env));

  exports.Set("buildId", Napi::String::New(env, kBuildId));
  exports.Set("errorCodes", error_code_list(env));
  exports.Set("devices", Napi::Function::New(env, devices, "devices"));
  exports.Set("addPluginFolder", Napi::Function::New(env, add_plugin_folder_of, "addPluginFolder"));
  exports.Set("mapFile", Napi::Function::New(env, map_file, "mapFile"));
  exports.Set("createLayer", Napi::Function::New(env, create_layer, "createLayer"));
  exports.Set("measureMachinePeak", Napi::Function::New(env, measure_machine_peak_async, "measureMachinePeak"));
  exports.Set("Group", GroupObject::define(env));
  exports.Set("Cancellation", cancellation);
  return exports;
}

}  // namespace
}  // namespace moe

static Napi::Object Init(Napi::Env env, Napi::Object exports) { return moe::initialise(env, exports); }

NODE_API_MODULE(moe, Init)
