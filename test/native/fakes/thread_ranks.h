// Ranks that are threads of the test, and what moves bytes between them.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/collective.h"
#include "core/error.h"

namespace moe::test {

// What all ranks share: the messages under way, and how many bytes and messages went from one rank to another.
class ThreadRanks {
 public:
  explicit ThreadRanks(int size) : size_(size) {}

  std::unique_ptr<Collective> join(int rank) { return std::make_unique<Member>(*this, rank); }
  size_t bytes(int from, int to) { return traffic_[{from, to}].first; }
  size_t messages(int from, int to) { return traffic_[{from, to}].second; }

  // Runs the body as every rank at once and rethrows what failed.
  static void run(int size, const std::function<void(int rank)>& body) {
    std::vector<std::exception_ptr> failures(size);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank)
      threads.emplace_back([&, rank] {
        try {
          body(rank);
        } catch (...) {
          failures[rank] = std::current_exception();
        }
      });
    for (std::thread& thread : threads) thread.join();
    // A rank that fails takes the others with it: what went wrong first is whatever is not that.
    std::exception_ptr lost;
    for (const std::exception_ptr& failure : failures) try {
        if (failure) std::rethrow_exception(failure);
      } catch (const Error& error) {
        if (std::string(error.what()).find("is gone") == std::string::npos) throw;
        lost = std::current_exception();
      }
    if (lost) std::rethrow_exception(lost);
  }

 private:
  class Member final : public Collective {
   public:
    Member(ThreadRanks& ranks, int rank) : Collective(rank, ranks.size_, std::chrono::seconds(20)), ranks_(ranks) {}
    ~Member() override { Member::abort(); }

    uint64_t start(const void* send, std::span<const Transfer> sends, void* receive,
                   std::span<const Transfer> receives) override {
      const std::lock_guard lock(ranks_.mutex_);
      for (const Transfer& to : sends) {
        const char* const from = static_cast<const char*>(send) + to.offset;
        if (to.bytes == 0 || to.rank == rank()) throw Error(ErrorCode::kInternal, "A transfer of nothing");
        ranks_.messages_[{rank(), to.rank}].emplace_back(from, from + to.bytes);
        auto& [bytes, messages] = ranks_.traffic_[{rank(), to.rank}];
        bytes += to.bytes;
        ++messages;
      }
      ranks_.arrived_.notify_all();
      started_[++last_] = {static_cast<char*>(receive), {receives.begin(), receives.end()}};
      return last_;
    }

    void wait(uint64_t exchange) override {
      std::unique_lock lock(ranks_.mutex_);
      for (const Transfer& from : started_.at(exchange).receives) {
        auto& queue = ranks_.messages_[{from.rank, rank()}];
        const auto ready = [&] { return !queue.empty() || ranks_.gone_.contains(from.rank); };
        if (!ranks_.arrived_.wait_for(lock, std::chrono::seconds(20), ready))
          throw Error(ErrorCode::kTimeout, "Rank " + std::to_string(from.rank) + " sent nothing");
        if (queue.empty()) throw Error(ErrorCode::kPeerLost, "Rank " + std::to_string(from.rank) + " is gone");
        if (queue.front().size() != from.bytes)
          throw Error(ErrorCode::kInternal, "Expected " + std::to_string(from.bytes) + " bytes from rank " +
                                                std::to_string(from.rank) + ", got " +
                                                std::to_string(queue.front().size()));
        std::memcpy(started_.at(exchange).receive + from.offset, queue.front().data(), from.bytes);
        queue.pop_front();
      }
      started_.erase(exchange);
    }

    void abort() noexcept override {
      const std::lock_guard lock(ranks_.mutex_);
      ranks_.gone_.insert(rank());
      ranks_.arrived_.notify_all();
    }

   private:
    struct Started {
      char* receive;
      std::vector<Transfer> receives;
    };
    ThreadRanks& ranks_;
    uint64_t last_ = 0;
    std::map<uint64_t, Started> started_;
  };

  const int size_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::set<int> gone_;
  std::map<std::pair<int, int>, std::deque<std::vector<char>>> messages_;
  std::map<std::pair<int, int>, std::pair<size_t, size_t>> traffic_;
};

}  // namespace moe::test
