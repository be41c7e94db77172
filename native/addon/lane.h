// One thread per device. Jobs run in the order they were submitted, so collectives line up across ranks.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "core/error.h"

namespace moe {

// Something to run on a lane: either `run` and then `ended` are called, once, or `withdraw` is. The lane does not own
// the job and does not touch it after `ended` or `withdraw`, which may end its life.
class Job {
 public:
  virtual ~Job() = default;
  virtual void run() = 0;                       // on the lane; does not throw
  virtual void ended() = 0;                     // on the lane, which counts as free by then
  virtual void withdraw(ErrorCode reason) = 0;  // on whichever thread took it out of the queue

  std::stop_source& stop() { return stop_; }

 private:
  std::stop_source stop_;
};

class Lane {
 public:
  Lane();
  ~Lane();  // runs what is queued, then ends the thread
  Lane(const Lane&) = delete;

  // Throws kQueueFull when `max_waiting` jobs already wait, besides the one that runs.
  void submit(Job& job, size_t max_waiting);
  // Takes the job out of the queue and withdraws it. False when it does not wait (any more).
  bool withdraw(Job& job, ErrorCode reason);

 private:
  void loop();
  Job* next();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job*> jobs_;
  bool idle_ = true;  // nothing runs: the first of jobs_ does not wait, the thread is on its way to it
  std::atomic<size_t> waiting_{0};
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace moe
