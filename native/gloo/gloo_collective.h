// The all-to-all by gloo's unbound buffers. Bytes move on gloo's own thread, one for each group.
#pragma once
#include <gloo/transport/context.h>
#include <gloo/transport/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <chrono>
#include <map>
#include <memory>
#include <vector>

#include "core/collective.h"
#include "core/transport.h"

namespace moe::gloo_tcp {

class GlooCollective final : public Collective {
 public:
  GlooCollective(std::shared_ptr<::gloo::transport::Device> device, std::shared_ptr<::gloo::transport::Context> context,
                 const TransportOptions& options);
  ~GlooCollective() override;

  uint64_t start(const void* send, std::span<const Transfer> sends, void* receive,
                 std::span<const Transfer> receives) override;
  void wait(uint64_t exchange) override { wait(exchange, timeout()); }
  void wait_idle(uint64_t exchange) override { wait(exchange, kEver); }
  void abort() noexcept override;

 private:
  struct Exchange {
    std::unique_ptr<::gloo::transport::UnboundBuffer> sent, received;
    std::vector<int> awaited;  // ranks whose bytes have not come, one for each transfer
    size_t unsent = 0;
  };

  static constexpr std::chrono::hours kEver{24 * 365};

  void wait(uint64_t exchange, std::chrono::milliseconds timeout);
  static void finish(Exchange& exchange, std::chrono::milliseconds timeout);

  std::shared_ptr<::gloo::transport::Device> device_;
  std::shared_ptr<::gloo::transport::Context> context_;
  uint64_t last_ = 0;
  std::map<uint64_t, Exchange> exchanges_;
};

}  // namespace moe::gloo_tcp
