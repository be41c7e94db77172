#include "addon/machine_peak_job.h"

#include "addon/environment.h"
#include "addon/errors.h"
#include "cpu/machine_peak.h"

namespace moe {

Napi::Value measure_machine_peak_async(const Napi::CallbackInfo& info) {
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
          result.Set("threads", Napi::Number::New(env, peak.threads));
          result.Set("gflops", Napi::Number::New(env, peak.gflops));
          result.Set("gigabytesPerSecond", Napi::Number::New(env, peak.gigabytes_per_second));
          return result;
        });
  });
}

}  // namespace moe
