// Some ranks of a group: those of a node, or those in one place of every node.
#pragma once
#include <vector>

#include "core/collective.h"

namespace moe {

// The ranks first, first + step, ... of `all`, which is borrowed. Every rank of `all` begins the same exchanges in the
// same order, each among its own part.
class SubCollective final : public Collective {
 public:
  SubCollective(Collective& all, int first, int step, int size)
      : all_(all), first_(first), step_(step), rank_((all.rank() - first) / step), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::chrono::milliseconds timeout() const override { return all_.timeout(); }
  uint64_t start(const void* send, std::span<const Transfer> sends, void* receive,
                 std::span<const Transfer> receives) override {
    const auto ranks_of_all = [&](std::span<const Transfer> from, std::vector<Transfer>& to) {
      to.assign(from.begin(), from.end());
      for (Transfer& transfer : to) transfer.rank = first_ + transfer.rank * step_;
    };
    ranks_of_all(sends, sends_);
    ranks_of_all(receives, receives_);
    return all_.start(send, sends_, receive, receives_);
  }
  void wait(uint64_t exchange) override { all_.wait(exchange); }
  void wait_idle(uint64_t exchange) override { all_.wait_idle(exchange); }
  void abort() noexcept override { all_.abort(); }

 private:
  Collective& all_;
  int first_, step_, rank_, size_;
  std::vector<Transfer> sends_, receives_;
};

}  // namespace moe
