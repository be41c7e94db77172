// What one JavaScript environment (main thread or worker) has under way, and how it hears of what ended.
#pragma once
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "addon/device_lane.h"
#include "addon/napi_setup.h"

namespace moe {

class Environment;

// A job whose end an environment waits for, and the promise that its end settles. It is made, settled and destroyed on
// the JS thread, so that it may hold references; only `work` runs on the lane.
class EnvironmentJob : public Job {
 public:
  EnvironmentJob(Environment& environment, std::shared_ptr<DeviceLane> device)
      : environment_(environment), device_(std::move(device)) {}

  void run() final;
  void ended() final;
  void withdraw(ErrorCode reason) final;
  // Ends the job with `reason` if it still waits.
  bool withdraw_if_waiting(ErrorCode reason) { return device_->lane().withdraw(*this, reason); }
  // Does the same, or asks it to stop if it runs.
  void cancel(ErrorCode reason);

  // Has `listener`, (done, total) => void, hear of progress. What it throws stops the job and rejects the promise.
  void on_progress(Napi::Function listener) { listener_ = Napi::Persistent(listener); }

  // These are called on the lane, while it works.
  DeviceLane& device() { return *device_; }
  void report(int64_t done, int64_t total);

 protected:
  virtual void work() = 0;                        // on the lane
  virtual Napi::Value result(Napi::Env env) = 0;  // what the promise is resolved with

 private:
  friend class Environment;

  void tell_progress(Napi::Env env);
  void settle(Napi::Env env);  // once, after the end

  Environment& environment_;
  std::shared_ptr<DeviceLane> device_;
  std::optional<Napi::Promise::Deferred> deferred_;
  std::exception_ptr error_;
  bool blocks_ = false;  // the JS thread waits for it, and nothing else
  std::atomic<bool> has_ended_{false};

  Napi::FunctionReference listener_;
  std::optional<Napi::Error> thrown_;  // by the listener
  std::atomic<int64_t> done_{0}, total_{0};
  int64_t told_ = -1;
};

class Environment {
 public:
  explicit Environment(Napi::Env env);
  Environment(const Environment&) = delete;

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  // Queues the job; its promise is settled by the event loop, which stays alive until then. Throws kQueueFull.
  Napi::Promise start(const std::shared_ptr<EnvironmentJob>& job, size_t max_waiting);
  // Queues the job and blocks until it has ended; rethrows its error. It is not settled.
  void run(const std::shared_ptr<EnvironmentJob>& job, size_t max_waiting);

  Napi::FunctionReference file_constructor, layer_constructor, model_constructor, cancellation_constructor;

 private:
  friend class EnvironmentJob;

  void ended(EnvironmentJob& job);   // on any thread
  void report(EnvironmentJob& job);  // on any thread
  void settle_ended(Napi::Env env);
  void shut_down();  // the environment goes away: nothing borrowed may be touched afterwards

  Napi::Env env_;
  napi_threadsafe_function settle_ = nullptr;

  std::unordered_map<EnvironmentJob*, std::shared_ptr<EnvironmentJob>> pending_;  // JS thread only

  std::mutex mutex_;
  std::condition_variable one_ended_;
  std::vector<EnvironmentJob*> ended_;
  std::vector<EnvironmentJob*> reporting_;
};

struct Undefined {
  Napi::Value operator()(Napi::Env env) const { return env.Undefined(); }
};

// `work(job)` on the device's lane, then, on the JS thread, `to_js(env, what it gave)`, or `to_js(env)` where it gives
// nothing. What the two hold is let go on the JS thread: references to what is borrowed from JavaScript belong there.
template <class Work, class ToJs = Undefined>
std::shared_ptr<EnvironmentJob> make_job(Napi::Env env, std::shared_ptr<DeviceLane> device, Work work,
                                         ToJs to_js = {}) {
  using Given = std::invoke_result_t<Work&, EnvironmentJob&>;
  class MadeJob final : public EnvironmentJob {
   public:
    MadeJob(Environment& environment, std::shared_ptr<DeviceLane> device, Work work, ToJs to_js)
        : EnvironmentJob(environment, std::move(device)), work_(std::move(work)), to_js_(std::move(to_js)) {}

   private:
    void work() override {
      if constexpr (std::is_void_v<Given>)
        work_(*this);
      else
        given_.emplace(work_(*this));
    }
    Napi::Value result(Napi::Env env) override {
      if constexpr (std::is_void_v<Given>)
        return to_js_(env);
      else
        return to_js_(env, *given_);
    }

    Work work_;
    ToJs to_js_;
    std::optional<std::conditional_t<std::is_void_v<Given>, std::monostate, Given>> given_;
  };
  return std::make_shared<MadeJob>(Environment::of(env), std::move(device), std::move(work), std::move(to_js));
}

// Gives a promise of what such a job gives.
template <class Work, class ToJs = Undefined>
Napi::Promise run_on(Napi::Env env, std::shared_ptr<DeviceLane> device, Work work, ToJs to_js = {},
                     size_t max_waiting = SIZE_MAX) {
  return Environment::of(env).start(make_job(env, std::move(device), std::move(work), std::move(to_js)), max_waiting);
}

// Gives a promise that is resolved already.
inline Napi::Promise resolved(Napi::Env env) {
  const auto done = Napi::Promise::Deferred::New(env);
  done.Resolve(env.Undefined());
  return done.Promise();
}

}  // namespace moe
