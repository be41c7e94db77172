// Moving bytes between the ranks of a group: the one thing that expert parallelism asks of a communication library.
#pragma once
#include <algorithm>
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

// Tells where the last of the transfers ends in its buffer.
inline size_t end_of(std::span<const Transfer> transfers) {
  size_t end = 0;
  for (const Transfer& transfer : transfers) end = std::max(end, transfer.offset + transfer.bytes);
  return end;
}

// Driven by one thread. Every rank begins the same exchanges in the same order. A call that throws kPeerLost or
// kTimeout leaves the collective unusable: every later call throws.
class Collective {
 public:
  Collective(int rank, int size, std::chrono::milliseconds timeout) : rank_(rank), size_(size), timeout_(timeout) {}
  virtual ~Collective() = default;
  Collective(const Collective&) = delete;
  Collective& operator=(const Collective&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  // How long `wait` waits at most for peers.
  std::chrono::milliseconds timeout() const { return timeout_; }

  // Begins an all-to-all and returns its number. The n-th transfer to a rank meets that rank's n-th transfer from here,
  // and both state the same size; a rank transfers nothing to itself. Buffers stay borrowed until `wait`; bytes move
  // meanwhile.
  virtual uint64_t start(const void* send, std::span<const Transfer> sends, void* receive,
                         std::span<const Transfer> receives) = 0;
  // Returns when what was to be received is there and what was sent may be overwritten.
  virtual void wait(uint64_t exchange) = 0;
  // Waits for as long as it takes, on ranks that have nothing to do: only the loss of a peer ends it. Libraries that
  // have no such wait are never asked to be idle.
  virtual void wait_idle(uint64_t exchange) { wait(exchange); }

  // Cuts the connections, so that waiting peers hear of it at once.
  virtual void abort() noexcept = 0;

 private:
  const int rank_, size_;
  const std::chrono::milliseconds timeout_;
};

}  // namespace moe
