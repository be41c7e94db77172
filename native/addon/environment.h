// What one JavaScript environment (main thread or worker) has under way, and how it hears of what ended.
#pragma once
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "addon/device_lane.h"
#include "addon/napi_setup.h"

namespace moe {

class Environment;

// A job whose end an environment waits for. Made, settled and destroyed on the JS thread, so that it may hold
// references; only `work` runs on the lane.
class EnvironmentJob : public Job {
 public:
  EnvironmentJob(Environment& environment, std::shared_ptr<DeviceLane> device)
      : environment_(environment), device_(std::move(device)) {}

  void run() final;
  void ended() final;
  void withdraw(ErrorCode reason) final;
  // Ends the job with `reason` if it still waits.
  bool withdraw_if_waiting(ErrorCode reason) { return device_->lane().withdraw(*this, reason); }
  // The same, or asks it to stop if it runs.
  void cancel(ErrorCode reason);

  // On the JS thread, some time after `request_report` on the lane; never after `settle`.
  virtual void report(Napi::Env) {}

  // On the JS thread, once, after the end. `error` is null when the work succeeded.
  virtual void settle(Napi::Env env, std::exception_ptr error) = 0;

 protected:
  virtual void work() = 0;  // on the lane
  DeviceLane& device() { return *device_; }
  void request_report();

 private:
  friend class Environment;

  Environment& environment_;
  std::shared_ptr<DeviceLane> device_;
  std::exception_ptr error_;
  bool blocks_ = false;  // the JS thread waits for it, and nothing else
  std::atomic<bool> has_ended_{false};
};

class Environment {
 public:
  explicit Environment(Napi::Env env);
  Environment(const Environment&) = delete;

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  // Queues the job; it is settled by the event loop, which stays alive until then. Throws kQueueFull.
  void start(const std::shared_ptr<EnvironmentJob>& job, size_t max_waiting);
  // Queues the job and blocks until it has ended; rethrows its error. It is not settled.
  void run(const std::shared_ptr<EnvironmentJob>& job, size_t max_waiting);

  Napi::FunctionReference file_constructor, layer_constructor, cancellation_constructor;

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

}  // namespace moe
