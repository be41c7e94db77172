// A group of ranks, processes or threads of this machine, with a socket between every two.
#pragma once
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "../runtime/handles.h"

namespace ascend_sim {

// What a rank says before its bytes, so that ranks that do not do the same find out.
struct Announcement {
  uint64_t sequence = 0;
  int32_t kind = 0;  // of Collective
  int32_t type = 0;
  int32_t op = 0;
  uint32_t root = 0;
  uint64_t bytes = 0;  // that follow
};

enum Collective : int32_t {
  kAllReduce,
  kBroadcast,
  kReduceScatter,
  kAllGather,
  kAllToAll,
  kAllToAllV,
  kBarrier,
  kSend,
  kReceive,
};
const char* name_of(int32_t collective);

struct Piece {
  std::byte* bytes = nullptr;
  size_t size = 0;
};

struct Communicator : Object {
  static constexpr const char* kKind = "communicator";
  const char* kind() const override { return kKind; }
  ~Communicator() override;

  std::string name;
  uint32_t rank = 0;
  uint32_t size = 0;
  int32_t device = 0;
  std::vector<int> sockets;  // to each rank, -1 to this one
  std::atomic<uint64_t> issued = 0;
  std::atomic<int> queued = 0;
  std::atomic<int> error = 0;
  std::mutex mutex;  // one operation at a time

  // Sends a piece to every other rank and receives one from each, all at once. Ranks must announce the same.
  void exchange(const Announcement& mine, const std::vector<Piece>& send, const std::vector<Piece>& receive);
  // The receiver confirms, so a send does not end before its receive.
  void send(uint32_t to, const Announcement& mine, Piece piece);
  void receive(uint32_t from, const Announcement& mine, Piece piece);

 private:
  using Deadline = std::chrono::steady_clock::time_point;
  void check(uint32_t peer, const Announcement& mine, const Announcement& theirs);
  void put(uint32_t peer, const void* bytes, size_t size, Deadline deadline);
  void get(uint32_t peer, void* bytes, size_t size, Deadline deadline);
  [[noreturn]] void broken(int code, const std::string& sentence);
};

// Joins the group that `id` names; returns when all ranks have. Throws when they do not come within
// HCCL_CONNECT_TIMEOUT seconds (120).
std::shared_ptr<Communicator> join_group(const std::string& id, uint32_t size, uint32_t rank, int32_t device);

}  // namespace ascend_sim
