// What collectives of devices' own libraries have in common.
#pragma once
#include "core/collective.h"

namespace moe {

// Between the ranks of `host`, which moves host memory.
class DeviceCollective : public Collective {
 public:
  explicit DeviceCollective(const Collective& host)
      : rank_(host.rank()), size_(host.size()), timeout_(host.timeout()) {}
  DeviceCollective(const DeviceCollective&) = delete;
  DeviceCollective& operator=(const DeviceCollective&) = delete;

  int rank() const final { return rank_; }
  int size() const final { return size_; }
  std::chrono::milliseconds timeout() const final { return timeout_; }
  void wait_idle(uint64_t exchange) final { wait(exchange); }  // the libraries have no other wait

 private:
  const int rank_, size_;
  const std::chrono::milliseconds timeout_;
};

}  // namespace moe
