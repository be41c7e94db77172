// Moving bytes between the ranks of a group: the one thing that expert parallelism asks of a communication library.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

namespace moe {

// Some bytes, more than 0, of a buffer that go to or come from another rank.
struct Transfer {
  int rank;
  size_t offset;
  size_t bytes;
};

// Driven by one thread. Every rank begins the same exchanges in the same order. A call that throws kPeerLost or
// kTimeout leaves the collective unusable: every later call throws.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // How long `wait` waits at most for peers.
  virtual std::chrono::milliseconds timeout() const = 0;

  // Begins an all-to-all and returns its number. The n-th transfer to a rank meets that rank's n-th transfer from here,
  // and both state the same size; a rank transfers nothing to itself. Buffers stay borrowed until `wait`; bytes move
  // meanwhile.
  virtual uint64_t start(const void* send, std::span<const Transfer> sends, void* receive,
                         std::span<const Transfer> receives) = 0;
  // Returns when what was to be received is there and what was sent may be overwritten.
  virtual void wait(uint64_t exchange) = 0;
  // As `wait`, for as long as it takes: only the loss of a peer ends it. For ranks that have nothing to do.
  virtual void wait_idle(uint64_t exchange) = 0;

  // Cuts the connections, so that waiting peers hear of it at once.
  virtual void abort() noexcept = 0;
};

}  // namespace moe
