// A communication library that carries bytes between processes: a plugin that exports `moe_transport_plugin`.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/collective.h"

namespace moe {

struct TransportOptions {
  int rank = 0;
  int size = 1;
  std::string address;                // of the interface to use: a name or number of this machine
  std::chrono::milliseconds timeout;  // how long to wait for a peer, in every call
};

// A rank that can be reached and has not met its peers yet.
class Transport {
 public:
  virtual ~Transport() = default;

  // What peers must know to reach this rank: any bytes.
  virtual std::vector<uint8_t> contact() const = 0;

  // Meets all peers, given everybody's contact in the order of ranks, and moves host memory between them from then on.
  // Blocks; throws kTimeout or kPeerLost. Called once.
  virtual std::unique_ptr<Collective> connect(std::span<const std::vector<uint8_t>> contacts) = 0;
};

struct TransportPlugin {
  const char* build_id;  // as Plugin::build_id
  const char* name;      // "gloo"
  // Throws kConfig where the address cannot be used.
  std::unique_ptr<Transport> (*open)(const TransportOptions& options);
};

}  // namespace moe

extern "C" __attribute__((visibility("default"))) const moe::TransportPlugin* moe_transport_plugin();
