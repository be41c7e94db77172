// Bytes on a device that travel by way of the host.
#pragma once
#include <memory>
#include <vector>

#include "core/collective.h"
#include "core/device.h"

namespace moe {

// Where the device's memory is the host's, nothing is copied.
class StagedCollective final : public Collective {
 public:
  // Both are borrowed.
  StagedCollective(Device& device, Collective& host)
      : Collective(host.rank(), host.size(), host.timeout()), device_(device), host_(host) {}

  uint64_t start(const void* send, std::span<const Transfer> sends, void* receive,
                 std::span<const Transfer> receives) override;
  void wait(uint64_t exchange) override {
    host_.wait(exchange);
    deliver(exchange);
  }
  void wait_idle(uint64_t exchange) override {
    host_.wait_idle(exchange);
    deliver(exchange);
  }
  void abort() noexcept override { host_.abort(); }

 private:
  struct Staged {
    uint64_t exchange;
    void* receive;
    std::vector<Transfer> receives;
    std::vector<std::byte> sent, received;
  };

  void deliver(uint64_t exchange);

  Device& device_;
  Collective& host_;
  std::vector<std::unique_ptr<Staged>> staged_;  // under way
};

}  // namespace moe
