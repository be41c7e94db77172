#include "streams.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "memory.h"
#include "profile.h"

namespace ascend_sim {
namespace {

using std::chrono::steady_clock;

struct Scheduler {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t next_number = 1;
  Clock host;  // what the host has waited for
  std::vector<std::shared_ptr<Stream>> streams;
};

Scheduler& scheduler() {
  static Scheduler& scheduler = *new Scheduler;
  return scheduler;
}

void join(Clock& into, const Clock& other) {
  for (const auto& [number, sequence] : other) into[number] = std::max(into[number], sequence);
}

uint64_t at(const Clock& clock, uint64_t number) {
  const auto found = clock.find(number);
  return found == clock.end() ? 0 : found->second;
}

// Drops what the host knows to have run.
void forget_ordered(Scheduler& all) {
  for (const auto& stream : all.streams)
    while (!stream->unordered.empty() && stream->unordered.front().sequence <= at(all.host, stream->number))
      stream->unordered.pop_front();
}

// The first task, not known to `clock`, that touches the same bytes with a write on either side.
const Task* conflict(const Scheduler& all, const Clock& clock, const Access& access, const Stream* except,
                     std::string& what) {
  for (const auto& stream : all.streams) {
    if (stream.get() == except) continue;
    for (const Task& task : stream->unordered) {
      if (task.sequence <= at(clock, stream->number)) continue;
      for (const Access& other : task.accesses)
        if (other.begin < access.end && access.begin < other.end && (other.write || access.write)) {
          what = other.what;
          return &task;
        }
    }
  }
  return nullptr;
}

void run_one(Scheduler& all, Stream& stream, std::unique_lock<std::mutex>& lock) {
  Task task = std::move(stream.queue.front());
  stream.queue.pop_front();
  const bool skip = stream.error != 0;
  lock.unlock();
  int code = kSuccess;
  std::string message;
  count_task();
  if (device_lost()) {
    code = kRtDeviceLost;
    message = "the device is lost";
  } else if (!skip) {
    try {
      task.work();
    } catch (const Fault& fault) {
      code = kRtStreamError;
      message = task.name + ": " + fault.sentence;
      record(message);
    } catch (const Failure& failure) {
      code = failure.code;
      message = task.name + ": " + failure.sentence;
    }
  }
  lock.lock();
  if (code != kSuccess && stream.error == 0) {
    stream.error = code;
    stream.error_message = message;
  }
  stream.done = task.sequence;
  all.changed.notify_all();
}

void work_through(Stream& stream) {
  Scheduler& all = scheduler();
  std::unique_lock lock(all.mutex);
  for (;;) {
    if (stream.queue.empty()) {
      if (stream.stopping) return;
      all.changed.wait(lock);
      continue;
    }
    const Task& next = stream.queue.front();
    if (next.sequence <= stream.demanded || steady_clock::now() >= next.due || stream.stopping)
      run_one(all, stream, lock);
    else
      all.changed.wait_until(lock, next.due);
  }
}

// Waits, with the lock held, until the stream has done the task. False when the time ran out.
bool demand(Scheduler& all, std::unique_lock<std::mutex>& lock, Stream& stream, uint64_t sequence, int milliseconds) {
  stream.demanded = std::max(stream.demanded, sequence);
  all.changed.notify_all();
  const auto done = [&] { return stream.done >= sequence; };
  if (milliseconds < 0) {
    all.changed.wait(lock, done);
    return true;
  }
  return all.changed.wait_for(lock, std::chrono::milliseconds(milliseconds), done);
}

void throw_error(const Stream& stream) {
  if (stream.error != 0) throw Failure{stream.error, stream.error_message};
}

}  // namespace

std::shared_ptr<Stream> make_stream(const Context& context) {
  Scheduler& all = scheduler();
  auto stream = std::make_shared<Stream>();
  stream->device = context.device;
  stream->context = &context;
  const std::lock_guard lock(all.mutex);
  stream->number = all.next_number++;
  all.streams.push_back(stream);
  stream->thread = std::thread([stream = stream.get()] { work_through(*stream); });
  return stream;
}

void enqueue(Stream& stream, std::string name, std::vector<Access> accesses, std::function<void()> work) {
  Scheduler& all = scheduler();
  const std::lock_guard lock(all.mutex);
  throw_error(stream);
  join(stream.clock, all.host);
  for (const Access& access : accesses) {
    std::string what;
    if (const Task* const other = conflict(all, stream.clock, access, &stream, what))
      throw Fault{kInvalidParam, access.what + " is used by " + other->name + " (" + what +
                                     ") on another stream, and no event or synchronisation orders the two"};
  }
  Task task{std::move(name), std::move(work), std::move(accesses), ++stream.issued,
            steady_clock::now() + std::chrono::milliseconds(idle_milliseconds())};
  stream.clock[stream.number] = task.sequence;
  stream.unordered.push_back({task.name, nullptr, task.accesses, task.sequence, task.due});
  stream.queue.push_back(std::move(task));
  all.changed.notify_all();
}

bool wait_for(Stream& stream, int milliseconds) {
  Scheduler& all = scheduler();
  std::unique_lock lock(all.mutex);
  const Clock issued = stream.clock;
  if (!demand(all, lock, stream, stream.issued, milliseconds)) return false;
  join(all.host, issued);
  forget_ordered(all);
  throw_error(stream);
  return true;
}

void wait_for(Event& event) {
  Scheduler& all = scheduler();
  std::unique_lock lock(all.mutex);
  if (!event.stream) return;
  const auto stream = event.stream;
  const Clock recorded = event.clock;
  demand(all, lock, *stream, event.sequence, -1);
  join(all.host, recorded);
  forget_ordered(all);
  throw_error(*stream);
}

bool is_done(Stream& stream) {
  Scheduler& all = scheduler();
  const std::lock_guard lock(all.mutex);
  throw_error(stream);
  stream.demanded = stream.issued;
  all.changed.notify_all();
  if (stream.done < stream.issued) return false;
  join(all.host, stream.clock);
  forget_ordered(all);
  return true;
}

bool is_done(Event& event) {
  Scheduler& all = scheduler();
  const std::lock_guard lock(all.mutex);
  if (!event.stream) return true;
  event.stream->demanded = std::max(event.stream->demanded, event.sequence);
  all.changed.notify_all();
  if (event.stream->done < event.sequence) return false;
  join(all.host, event.clock);
  forget_ordered(all);
  return true;
}

bool has_unwaited_work(Stream& stream) {
  Scheduler& all = scheduler();
  const std::lock_guard lock(all.mutex);
  return at(all.host, stream.number) < stream.issued;
}

void record_event(Event& event, const std::shared_ptr<Stream>& stream) {
  enqueue(*stream, "aclrtRecordEvent", {}, [&event] { event.time = steady_clock::now(); });
  const std::lock_guard lock(scheduler().mutex);
  event.stream = stream;
  event.sequence = stream->issued;
  event.clock = stream->clock;
}

void make_wait(Stream& stream, const std::shared_ptr<Event>& event) {
  std::shared_ptr<Stream> other;
  uint64_t sequence = 0;
  {
    const std::lock_guard lock(scheduler().mutex);
    if (!event->stream || event->stream.get() == &stream) return;
    other = event->stream;
    sequence = event->sequence;
    join(stream.clock, event->clock);
  }
  enqueue(stream, "aclrtStreamWaitEvent", {}, [other, sequence] {
    Scheduler& all = scheduler();
    std::unique_lock lock(all.mutex);
    demand(all, lock, *other, sequence, -1);
  });
}

void stop(Stream& stream, bool run_queue) {
  Scheduler& all = scheduler();
  {
    const std::lock_guard lock(all.mutex);
    if (!run_queue) {
      if (!stream.queue.empty()) stream.done = stream.queue.back().sequence;
      stream.queue.clear();
    }
    stream.stopping = true;
    all.changed.notify_all();
  }
  stream.thread.join();
  const std::lock_guard lock(all.mutex);
  all.host[stream.number] = stream.issued;
  std::erase_if(all.streams, [&](const auto& other) { return other.get() == &stream; });
  all.changed.notify_all();
}

void check_host_access(const Access& access) {
  Scheduler& all = scheduler();
  const std::lock_guard lock(all.mutex);
  std::string what;
  if (const Task* const other = conflict(all, all.host, access, nullptr, what))
    throw Fault{kInvalidParam, access.what + " is still used by queued " + other->name + " (" + what +
                                   "): its stream was not synchronised"};
}

std::vector<std::shared_ptr<Stream>> streams_of(int32_t device) {
  Scheduler& all = scheduler();
  const std::lock_guard lock(all.mutex);
  std::vector<std::shared_ptr<Stream>> found;
  for (const auto& stream : all.streams)
    if (stream->device == device) found.push_back(stream);
  return found;
}

}  // namespace ascend_sim
