#include "addon/machine_peak_job.h"

#include "addon/environment.h"
#include "addon/errors.h"
#include "cpu/machine_peak.h"

namespace moe {
namespace {

class MachinePeakJob final : public EnvironmentJob {
 public:
  MachinePeakJob(Environment& environment, Napi::Env env, int threads, double seconds)
      : EnvironmentJob(environment, device_lane("cpu", 0)), deferred_(env), threads_(threads), seconds_(seconds) {}

  Napi::Promise promise() { return deferred_.Promise(); }

  void settle(Napi::Env env, std::exception_ptr error) override {
    if (error) return deferred_.Reject(to_js(env, error).Value());
    const Napi::Object result = Napi::Object::New(env);
    result.Set("threads", Napi::Number::New(env, peak_.threads));
    result.Set("gflops", Napi::Number::New(env, peak_.gflops));
    result.Set("gigabytesPerSecond", Napi::Number::New(env, peak_.gigabytes_per_second));
    deferred_.Resolve(result);
  }

 private:
  void work() override { peak_ = cpu::measure_machine_peak(threads_, seconds_, stop().get_token()); }

  Napi::Promise::Deferred deferred_;
  int threads_;
  double seconds_;
  cpu::MachinePeak peak_{};
};

}  // namespace

Napi::Value measure_machine_peak_async(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const double threads = info[0].ToNumber().DoubleValue(), seconds = info[1].ToNumber().DoubleValue();
    if (!(threads >= 0 && threads <= 4096)) throw Error(ErrorCode::kShape, "Expected `threads` to be from 0 to 4096");
    if (!(seconds > 0 && seconds <= 60)) throw Error(ErrorCode::kShape, "Expected `seconds` to be from 0 to 60");
    const auto job =
        std::make_shared<MachinePeakJob>(Environment::of(info.Env()), info.Env(), static_cast<int>(threads), seconds);
    Environment::of(info.Env()).start(job, SIZE_MAX);
    return job->promise();
  });
}

}  // namespace moe
