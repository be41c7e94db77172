#include "addon/environment.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "addon/errors.h"

namespace moe {
namespace {

// A call that ends within this time finds the JS thread awake: cheaper than a wake-up by the kernel.
constexpr auto kSpin = std::chrono::microseconds(50);

// An environment that is being torn down refuses to run JavaScript, and the calls that settle a job throw. Nobody is
// left to hear it, and the other jobs still have to be taken off.
template <class Call>
void unless_torn_down(Call call) {
  try {
    call();
  } catch (const Napi::Error&) {
  }
}

}  // namespace

void EnvironmentJob::run() {
  try {
    if (stop().stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
    work();
  } catch (...) {
    error_ = std::current_exception();
  }
}

void EnvironmentJob::ended() { environment_.ended(*this); }

void EnvironmentJob::withdraw(ErrorCode reason) {
  error_ = std::make_exception_ptr(reason == ErrorCode::kClosed
                                       ? Error(reason, "The layer or model was closed before the call ran")
                                       : Error(reason, "The call was aborted while it waited"));
  environment_.ended(*this);
}

void EnvironmentJob::cancel(ErrorCode reason) {
  if (!withdraw_if_waiting(reason)) stop().request_stop();
}

void EnvironmentJob::report(int64_t done, int64_t total) {
  done_ = done;
  total_ = total;
  environment_.report(*this);
}

void EnvironmentJob::tell_progress(Napi::Env env) {
  const int64_t done = done_.load(), total = total_.load();
  if (listener_.IsEmpty() || done == told_ || thrown_) return;
  told_ = done;
  try {
    listener_.Call(
        {Napi::Number::New(env, static_cast<double>(done)), Napi::Number::New(env, static_cast<double>(total))});
  } catch (const Napi::Error& thrown) {
    thrown_ = thrown;
    cancel(ErrorCode::kAborted);
  }
}

void EnvironmentJob::settle(Napi::Env env) {
  if (!deferred_) return;  // the environment was ending when it was queued
  if (!error_) tell_progress(env);
  if (thrown_)
    deferred_->Reject(thrown_->Value());
  else if (error_)
    deferred_->Reject(to_js(env, error_).Value());
  else
    deferred_->Resolve(result(env));
}

Environment::Environment(Napi::Env env) : env_(env) {
  const auto settle = [](napi_env raw, napi_value, void* context, void*) {
    if (raw) static_cast<Environment*>(context)->settle_ended(Napi::Env(raw));
  };
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "node-moe"),
                                                             0, 1, nullptr, nullptr, this, settle, &settle_);
  if (status != napi_ok) throw Error(ErrorCode::kInternal, "The environment refuses a thread-safe function");
  napi_unref_threadsafe_function(env, settle_);
  // It is registered after the thread-safe function, so it runs before that one's own clean-up.
  napi_add_env_cleanup_hook(
      env, [](void* self) { static_cast<Environment*>(self)->shut_down(); }, this);
}

Napi::Promise Environment::start(const std::shared_ptr<EnvironmentJob>& job, size_t max_waiting) {
  const auto place = pending_.emplace(job.get(), job).first;
  try {
    job->device_->lane().submit(*job, max_waiting);
  } catch (...) {
    pending_.erase(place);
    throw;
  }
  if (pending_.size() == 1) napi_ref_threadsafe_function(env_, settle_);
  // The promise is made only now, for one that is never settled is never freed; this thread settles it, so not before.
  return job->deferred_.emplace(env_).Promise();
}

void Environment::run(const std::shared_ptr<EnvironmentJob>& job, size_t max_waiting) {
  job->blocks_ = true;
  job->device_->lane().submit(*job, max_waiting);
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  while (!job->has_ended_.load(std::memory_order_relaxed) && std::chrono::steady_clock::now() < deadline) {
  }
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto place = std::find(ended_.begin(), ended_.end(), job.get());
    if (place != ended_.end()) {
      ended_.erase(place);
      break;
    }
    one_ended_.wait(lock);
  }
  lock.unlock();
  if (job->error_) std::rethrow_exception(job->error_);
}

// Signals are given under the lock: once it is free, a waiting shut_down may let the environment go.
void Environment::ended(EnvironmentJob& job) {
  const std::lock_guard lock(mutex_);
  ended_.push_back(&job);
  job.has_ended_.store(true, std::memory_order_relaxed);
  one_ended_.notify_all();
  if (settle_ && !job.blocks_) napi_call_threadsafe_function(settle_, nullptr, napi_tsfn_nonblocking);
}

void Environment::report(EnvironmentJob& job) {
  const std::lock_guard lock(mutex_);
  if (std::ranges::find(reporting_, &job) != reporting_.end()) return;
  reporting_.push_back(&job);
  if (settle_) napi_call_threadsafe_function(settle_, nullptr, napi_tsfn_nonblocking);
}

void Environment::settle_ended(Napi::Env env) {
  std::vector<EnvironmentJob*> ended, reporting;
  {
    const std::lock_guard lock(mutex_);
    ended.swap(ended_);
    reporting.swap(reporting_);
  }
  const Napi::HandleScope scope(env);
  for (EnvironmentJob* const key : reporting)
    if (pending_.contains(key)) unless_torn_down([&] { key->tell_progress(env); });
  for (EnvironmentJob* const key : ended) {
    const auto node = pending_.extract(key);
    if (node.empty()) continue;
    if (pending_.empty()) napi_unref_threadsafe_function(env_, settle_);
    unless_torn_down([&] { node.mapped()->settle(env); });
  }
}

void Environment::shut_down() {
  for (const auto& [key, job] : pending_) job->cancel(ErrorCode::kAborted);
  std::unique_lock lock(mutex_);
  one_ended_.wait(lock, [this] {
    return std::ranges::all_of(
        pending_, [this](const auto& entry) { return std::ranges::find(ended_, entry.first) != ended_.end(); });
  });
  const napi_threadsafe_function settle = std::exchange(settle_, nullptr);
  lock.unlock();
  pending_.clear();
  napi_release_threadsafe_function(settle, napi_tsfn_abort);
}

}  // namespace moe
