// Streams run their work in order on a thread each, and late: not before somebody waits for it or some milliseconds
// have passed, so what was not waited for is not there yet. Every task says which memory it touches. Two tasks of
// different streams, or a task and the host, that touch the same bytes must be ordered by events or synchronisation;
// this is checked with vector clocks when they are issued, not by luck when they run.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "handles.h"

namespace ascend_sim {

struct Access {
  uintptr_t begin;
  uintptr_t end;
  bool write;
  std::string what;
};

// Of each stream, by its number, the tasks that happened before.
using Clock = std::map<uint64_t, uint64_t>;

struct Task {
  std::string name;
  std::function<void()> work;
  std::vector<Access> accesses;
  uint64_t sequence = 0;
  std::chrono::steady_clock::time_point due;
};

struct Stream;

struct Context : Object {
  static constexpr const char* kKind = "context";
  const char* kind() const override { return kKind; }
  std::string describe() const override { return implicit ? "" : kKind; }
  int32_t device = 0;
  bool implicit = false;
  std::shared_ptr<Stream> default_stream;
};

struct Stream : Object {
  static constexpr const char* kKind = "stream";
  const char* kind() const override { return kKind; }

  uint64_t number = 0;
  int32_t device = 0;
  const Context* context = nullptr;
  // The rest is guarded by the scheduler's mutex.
  std::deque<Task> queue;
  std::deque<Task> unordered;  // issued, and not yet known by the host to have run: their accesses, without their work
  uint64_t issued = 0;
  uint64_t done = 0;
  uint64_t demanded = 0;
  Clock clock;
  int error = 0;
  std::string error_message;
  bool stopping = false;
  std::thread thread;
};

struct Event : Object {
  static constexpr const char* kKind = "event";
  const char* kind() const override { return kKind; }

  bool timed = false;
  bool extended = false;           // made by CreateEventExWithFlag: cannot be reset
  std::shared_ptr<Stream> stream;  // of the last record
  uint64_t sequence = 0;
  Clock clock;
  std::chrono::steady_clock::time_point time;
};

std::shared_ptr<Stream> make_stream(const Context& context);
// Queues work. Throws a Fault when its memory is touched by unordered work of another stream.
void enqueue(Stream& stream, std::string name, std::vector<Access> accesses, std::function<void()> work);
// Waits until the stream has done what was issued; false when the time (milliseconds, -1: none) ran out first. Throws
// what a task failed with.
bool wait_for(Stream& stream, int milliseconds = -1);
void wait_for(Event& event);
bool is_done(Stream& stream);
bool is_done(Event& event);
bool has_unwaited_work(Stream& stream);
void record_event(Event& event, const std::shared_ptr<Stream>& stream);
void make_wait(Stream& stream, const std::shared_ptr<Event>& event);
void stop(Stream& stream, bool run_queue);

// The host is about to touch, or give back, these bytes.
void check_host_access(const Access& access);

std::vector<std::shared_ptr<Stream>> streams_of(int32_t device);

}  // namespace ascend_sim
