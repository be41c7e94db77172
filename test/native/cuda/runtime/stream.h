// Streams run what they are given on a thread of their own, in order and as late as the contract allows.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace moe::emulator {

using Operation = std::function<void()>;

struct Graph {
  std::vector<Operation> operations;
};

class Stream {
 public:
  Stream();
  ~Stream();  // what was given runs first
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Or into the graph being captured.
  void add(Operation operation);
  // Returns when everything added so far has run.
  void wait();
  // Somebody waits for what is in the queue.
  void hurry();

  // The graph being captured; null where none is.
  std::unique_ptr<Graph> captured;

 private:
  void work(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Operation> queue_;
  bool hurried_ = false, busy_ = false;
  std::jthread thread_;
};

// An event is done when every record of it has been reached.
class Event {
 public:
  void begin();  // a record was put into a stream
  void finish();
  bool done();
  void wait();
  Stream* stream = nullptr;  // of the last record

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int pending_ = 0;
};

}  // namespace moe::emulator
