#include "../communicator.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace ascend_sim {
namespace {

using std::chrono::steady_clock;

std::chrono::seconds seconds_of(const char* variable, int otherwise) {
  const char* const text = std::getenv(variable);
  return std::chrono::seconds(text && *text ? std::atoi(text) : otherwise);
}

steady_clock::time_point work_deadline() { return steady_clock::now() + seconds_of("HCCL_EXEC_TIMEOUT", 30); }

int milliseconds_to(steady_clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
  return static_cast<int>(std::max<int64_t>(0, left));
}

// An address without a file: it goes with its socket.
socklen_t address_of(const std::string& id, uint32_t rank, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  const std::string name = "ascend-sim-" + id + "-" + std::to_string(rank);
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

[[noreturn]] void late(uint32_t rank) {
  throw Failure{kHcclTimeout, "rank " + std::to_string(rank) + " did not come within HCCL_CONNECT_TIMEOUT"};
}

int connect_to(const std::string& id, uint32_t rank, steady_clock::time_point deadline) {
  sockaddr_un address;
  const socklen_t length = address_of(id, rank, address);
  for (;;) {
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(socket, reinterpret_cast<sockaddr*>(&address), length) == 0) return socket;
    close(socket);
    if (steady_clock::now() >= deadline) late(rank);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void set_nonblocking(int socket) { fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK); }

// Who stands at the other end. Two ranks on one device are not allowed.
struct Introduction {
  uint32_t rank = 0;
  uint32_t size = 0;
  int32_t device = 0;
  char visible[64] = {};
};

void introduce(Communicator& comm, int socket, const Introduction& mine) {
  Introduction theirs;
  if (::send(socket, &mine, sizeof mine, MSG_NOSIGNAL) != sizeof mine ||
      recv(socket, &theirs, sizeof theirs, MSG_WAITALL) != sizeof theirs) {
    close(socket);
    throw Failure{kHcclInternal, "a rank left while the group was made"};
  }
  comm.sockets[theirs.rank] = socket;
  set_nonblocking(socket);
  require(theirs.size == mine.size, kHcclPara,
          "rank " + std::to_string(theirs.rank) + " expects " + std::to_string(theirs.size) + " ranks, this one " +
              std::to_string(mine.size));
  require(theirs.device != mine.device || std::strcmp(theirs.visible, mine.visible) != 0, kHcclPara,
          "ranks " + std::to_string(theirs.rank) + " and " + std::to_string(mine.rank) + " are both on device " +
              std::to_string(mine.device));
}

}  // namespace

const char* name_of(int32_t collective) {
  static const char* const names[] = {"HcclAllReduce", "HcclBroadcast", "HcclReduceScatter",
                                      "HcclAllGather", "HcclAlltoAll",  "HcclAlltoAllV",
                                      "HcclBarrier",   "HcclSend",      "HcclRecv"};
  return collective >= kAllReduce && collective <= kReceive ? names[collective] : "an unknown operation";
}

std::shared_ptr<Communicator> join_group(const std::string& id, uint32_t size, uint32_t rank, int32_t device) {
  auto comm = std::make_shared<Communicator>();
  comm->name = "ascend_sim_" + id;
  comm->rank = rank;
  comm->size = size;
  comm->device = device;
  comm->sockets.assign(size, -1);
  const auto deadline = steady_clock::now() + seconds_of("HCCL_CONNECT_TIMEOUT", 120);
  Introduction mine{rank, size, device, {}};
  if (const char* const visible = std::getenv("ASCEND_RT_VISIBLE_DEVICES"))
    std::strncpy(mine.visible, visible, sizeof mine.visible - 1);

  sockaddr_un address;
  const socklen_t length = address_of(id, rank, address);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const std::unique_ptr<const int, void (*)(const int*)> closer(&listener, [](const int* open) { close(*open); });
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0)
    throw Fault{kHcclPara, "rank " + std::to_string(rank) + " joined twice"};
  listen(listener, static_cast<int>(size));
  for (uint32_t peer = 0; peer < rank; ++peer) introduce(*comm, connect_to(id, peer, deadline), mine);
  for (uint32_t missing = rank + 1; missing < size; ++missing) {
    pollfd waiting{listener, POLLIN, 0};
    if (poll(&waiting, 1, milliseconds_to(deadline)) <= 0) late(missing);
    introduce(*comm, accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), mine);
  }
  return comm;
}

Communicator::~Communicator() {
  for (const int socket : sockets)
    if (socket >= 0) close(socket);
}

void Communicator::broken(int code, const std::string& sentence) {
  error = code;
  throw Failure{kRtStreamError, sentence};
}

void Communicator::check(uint32_t peer, const Announcement& mine, const Announcement& theirs) {
  const std::string who = "rank " + std::to_string(peer);
  require(theirs.kind == mine.kind && theirs.sequence == mine.sequence, kHcclInternal,
          who + " issued " + name_of(theirs.kind) + " as operation " + std::to_string(theirs.sequence) +
              ", this rank " + name_of(mine.kind) + " as operation " + std::to_string(mine.sequence) +
              ": all must issue the same in the same order");
  require(theirs.type == mine.type, kHcclInternal, who + " has data type " + std::to_string(theirs.type));
  require(theirs.op == mine.op, kHcclInternal, who + " reduces by " + std::to_string(theirs.op));
  require(theirs.root == mine.root, kHcclInternal, who + " has root " + std::to_string(theirs.root));
}

void Communicator::exchange(const Announcement& mine, const std::vector<Piece>& send,
                            const std::vector<Piece>& receive) {
  const std::lock_guard lock(mutex);
  const auto deadline = work_deadline();
  struct Peer {
    Announcement out, in;
    size_t sent = 0;
    size_t got = 0;
  };
  constexpr size_t kHead = sizeof(Announcement);
  std::vector<Peer> peers(size);
  for (uint32_t p = 0; p < size; ++p) {
    peers[p].out = mine;
    peers[p].out.bytes = send[p].size;
  }
  for (;;) {
    std::vector<pollfd> waiting;
    std::vector<uint32_t> who;
    for (uint32_t p = 0; p < size; ++p) {
      if (p == rank) continue;
      const short events = static_cast<short>((peers[p].sent < kHead + send[p].size ? POLLOUT : 0) |
                                              (peers[p].got < kHead + receive[p].size ? POLLIN : 0));
      if (events == 0) continue;
      waiting.push_back({sockets[p], events, 0});
      who.push_back(p);
    }
    if (waiting.empty()) return;
    if (poll(waiting.data(), waiting.size(), milliseconds_to(deadline)) <= 0)
      broken(kHcclTimeout, "rank " + std::to_string(who[0]) + " did not answer within HCCL_EXEC_TIMEOUT");
    for (size_t i = 0; i < who.size(); ++i) {
      const uint32_t p = who[i];
      Peer& peer = peers[p];
      if (waiting[i].revents & POLLOUT) {
        const bool head = peer.sent < kHead;
        const auto* const from =
            head ? reinterpret_cast<const std::byte*>(&peer.out) + peer.sent : send[p].bytes + (peer.sent - kHead);
        const size_t left = head ? kHead - peer.sent : kHead + send[p].size - peer.sent;
        const ssize_t count = ::send(sockets[p], from, left, MSG_NOSIGNAL);
        if (count > 0) peer.sent += count;
        if (count < 0 && errno != EAGAIN) broken(21, "rank " + std::to_string(p) + " is gone");
      }
      if (waiting[i].revents & (POLLIN | POLLHUP)) {
        const bool head = peer.got < kHead;
        auto* const to =
            head ? reinterpret_cast<std::byte*>(&peer.in) + peer.got : receive[p].bytes + (peer.got - kHead);
        const size_t left = head ? kHead - peer.got : kHead + receive[p].size - peer.got;
        const ssize_t count = recv(sockets[p], to, left, 0);
        if (count == 0 || (count < 0 && errno != EAGAIN)) broken(21, "rank " + std::to_string(p) + " is gone");
        if (count < 0) continue;
        peer.got += count;
        if (!head || peer.got < kHead) continue;
        check(p, mine, peer.in);
        require(peer.in.bytes == receive[p].size, kHcclInternal,
                "rank " + std::to_string(p) + " sends " + std::to_string(peer.in.bytes) + " bytes, this rank expects " +
                    std::to_string(receive[p].size));
      }
    }
  }
}

void Communicator::put(uint32_t peer, const void* bytes, size_t size, Deadline deadline) {
  for (size_t sent = 0; sent < size;) {
    pollfd waiting{sockets[peer], POLLOUT, 0};
    if (poll(&waiting, 1, milliseconds_to(deadline)) <= 0)
      broken(kHcclTimeout, "rank " + std::to_string(peer) + " did not answer within HCCL_EXEC_TIMEOUT");
    const ssize_t count = ::send(sockets[peer], static_cast<const std::byte*>(bytes) + sent, size - sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) broken(21, "rank " + std::to_string(peer) + " is gone");
    if (count > 0) sent += count;
  }
}

void Communicator::get(uint32_t peer, void* bytes, size_t size, Deadline deadline) {
  for (size_t got = 0; got < size;) {
    pollfd waiting{sockets[peer], POLLIN, 0};
    if (poll(&waiting, 1, milliseconds_to(deadline)) <= 0)
      broken(kHcclTimeout, "rank " + std::to_string(peer) + " did not answer within HCCL_EXEC_TIMEOUT");
    const ssize_t count = recv(sockets[peer], static_cast<std::byte*>(bytes) + got, size - got, 0);
    if (count == 0 || (count < 0 && errno != EAGAIN)) broken(21, "rank " + std::to_string(peer) + " is gone");
    if (count > 0) got += count;
  }
}

void Communicator::send(uint32_t to, const Announcement& mine, Piece piece) {
  const std::lock_guard lock(mutex);
  const auto deadline = work_deadline();
  put(to, &mine, sizeof mine, deadline);
  Announcement theirs;  // the receiver's, before any byte is sent
  get(to, &theirs, sizeof theirs, deadline);
  require(theirs.kind == kReceive, kHcclInternal,
          "rank " + std::to_string(to) + " issued " + name_of(theirs.kind) + " where this rank's HcclSend needs its " +
              "HcclRecv");
  put(to, piece.bytes, piece.size, deadline);
}

void Communicator::receive(uint32_t from, const Announcement& mine, Piece piece) {
  const std::lock_guard lock(mutex);
  const auto deadline = work_deadline();
  put(from, &mine, sizeof mine, deadline);
  Announcement theirs;
  get(from, &theirs, sizeof theirs, deadline);
  const std::string who = "rank " + std::to_string(from);
  require(theirs.kind == kSend, kHcclInternal,
          who + " issued " + name_of(theirs.kind) + " where this rank's HcclRecv needs its HcclSend");
  require(theirs.type == mine.type && theirs.bytes == piece.size, kHcclInternal,
          who + " sends " + std::to_string(theirs.bytes) + " bytes of type " + std::to_string(theirs.type) +
              ", this rank expects " + std::to_string(piece.size) + " of type " + std::to_string(mine.type));
  get(from, piece.bytes, piece.size, deadline);
}

}  // namespace ascend_sim
