// What require() gives: src/binding/native.ts declares the same surface.
#include "addon/cancellation_object.h"
#include "addon/device_lane.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/group_object.h"
#include "addon/layer_object.h"
#include "addon/mapped_file.h"
#include "addon/model_object.h"
#include "core/weight_format.h"
#include "cpu/machine_peak.h"

namespace moe {
namespace {

Napi::Object describe(Napi::Env env, const HeldWeights& held) {
  const Napi::Object object = Napi::Object::New(env);
  object.Set("type", name_of(held.type));
  object.Set("groups", list_of(env, held.groups, [env](int32_t group) {
               return group > 0 ? Napi::Value::From(env, group) : Napi::Value::From(env, "all");
             }));
  object.Set("activationTypes",
             list_of(env, held.row_types, [env](RowType type) { return Napi::Value::From(env, name_of(type)); }));
  return object;
}

Napi::Object describe(Napi::Env env, const DeviceInfo& device) {
  const auto describe_held = [env](const HeldWeights& held) { return describe(env, held); };
  const Napi::Object object = Napi::Object::New(env);
  object.Set("index", device.index);
  object.Set("name", device.name);
  object.Set("kernels", device.kernels);
  object.Set("threads", device.threads);
  object.Set("memoryBytes", static_cast<double>(device.memory_bytes));
  object.Set("emulated", device.emulated);
  object.Set("weights", list_of(env, device.capabilities.weights, describe_held));
  object.Set("maxExperts", device.capabilities.max_experts);
  return object;
}

Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    return list_of(env, registry().list(), [env](const FamilyStatus& status) {
      const Napi::Object object = Napi::Object::New(env);
      object.Set("name", status.name);
      object.Set("reason", status.reason);
      object.Set("devices",
                 list_of(env, status.devices, [env](const DeviceInfo& each) { return describe(env, each); }));
      return object;
    });
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

// Takes (threads, seconds) and promises { threads, gflops, gigabytesPerSecond }, measured on the CPU's lane, so that no
// layer competes.
Napi::Value measure_machine_peak(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const double threads = info[0].ToNumber().DoubleValue(), seconds = info[1].ToNumber().DoubleValue();
    if (!(threads >= 0 && threads <= 4096)) throw Error(ErrorCode::kShape, "Expected `threads` to be from 0 to 4096");
    if (!(seconds > 0 && seconds <= 60)) throw Error(ErrorCode::kShape, "Expected `seconds` to be from 0 to 60");
    return run_on(
        info.Env(), device_lane("cpu", 0),
        [threads, seconds](EnvironmentJob& job) {
          return cpu::measure_machine_peak(static_cast<int>(threads), seconds, job.stop().get_token());
        },
        [](Napi::Env env, const cpu::MachinePeak& peak) {
          const Napi::Object result = Napi::Object::New(env);
          result.Set("threads", peak.threads);
          result.Set("gflops", peak.gflops);
          result.Set("gigabytesPerSecond", peak.gigabytes_per_second);
          return result;
        });
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  const auto environment = new Environment(env);
  env.SetInstanceData(environment);  // deleted with the environment
  const Napi::Function cancellation = CancellationObject::define(env);
  environment->file_constructor = Napi::Persistent(FileObject::define(env));
  environment->layer_constructor = Napi::Persistent(LayerObject::define(env));
  environment->model_constructor = Napi::Persistent(ModelObject::define(env));

  exports.Set("buildId", Napi::String::New(env, kBuildId));
  exports.Set("errorCodes", error_code_list(env));
  exports.Set("devices", Napi::Function::New(env, devices, "devices"));
  exports.Set("addPluginFolder", Napi::Function::New(env, add_plugin_folder_of, "addPluginFolder"));
  exports.Set("mapFile", Napi::Function::New(env, map_file, "mapFile"));
  exports.Set("createLayer", Napi::Function::New(env, create_layer, "createLayer"));
  exports.Set("createModel", Napi::Function::New(env, create_model, "createModel"));
  exports.Set("measureMachinePeak", Napi::Function::New(env, measure_machine_peak, "measureMachinePeak"));
  exports.Set("Group", GroupObject::define(env));
  exports.Set("Cancellation", cancellation);
  return exports;
}

}  // namespace
}  // namespace moe

static Napi::Object Init(Napi::Env env, Napi::Object exports) { return moe::initialise(env, exports); }

NODE_API_MODULE(moe, Init)
