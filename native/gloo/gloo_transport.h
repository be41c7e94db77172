// Ranks that meet over TCP by means of gloo.
#pragma once
#include <gloo/transport/context.h>
#include <gloo/transport/device.h>

#include <memory>

#include "core/transport.h"

namespace moe::gloo_tcp {

class GlooTransport final : public Transport {
 public:
  explicit GlooTransport(const TransportOptions& options);

  std::vector<uint8_t> contact() const override;
  std::unique_ptr<Collective> connect(std::span<const std::vector<uint8_t>> contacts) override;

 private:
  TransportOptions options_;
  std::shared_ptr<::gloo::transport::Device> device_;
  std::shared_ptr<::gloo::transport::Context> context_;
};

}  // namespace moe::gloo_tcp
