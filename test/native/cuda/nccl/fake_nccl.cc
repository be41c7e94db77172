// A stand-in for libnccl.so.2: ranks are threads of one process, and a group of sends and receives is carried out by a
// thread of its communicator while calls say that they are in progress, as in NCCL's non-blocking mode. Wrong use is an
// error. The test gives it the way to device memory, for the emulated device is in the test's own program.
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

enum Status : int { kSuccess = 0, kInvalidArgument = 4, kInvalidUsage = 5, kRemoteError = 6, kInProgress = 7 };

struct UniqueId {
  char internal[128];
};
struct Config {
  size_t size;
  unsigned magic, version;
  int blocking;
};

using ToHost = void (*)(void* host, const void* device, size_t bytes, void* stream);
using ToDevice = void (*)(void* device, const void* host, size_t bytes, void* stream);
ToHost to_host;
ToDevice to_device;

// What the ranks of one id share.
struct Group {
  std::mutex mutex;
  std::condition_variable changed;
  int joined = 0;
  std::map<int, bool> gone;
  std::map<std::pair<int, int>, std::deque<std::vector<char>>> messages;
};

std::mutex groups_mutex;
std::map<std::string, std::shared_ptr<Group>> groups;

struct Operation {
  bool sends;
  char* memory;
  size_t bytes;
  int peer;
  void* stream;
};

struct Communicator {
  std::shared_ptr<Group> group;
  int rank, size;
  std::mutex mutex;
  int status = kInProgress;
  bool aborted = false;
  std::thread worker;

  int set(int value) {
    const std::lock_guard lock(mutex);
    return status = value;
  }
  void leave() {
    {
      const std::lock_guard lock(group->mutex);
      group->gone[rank] = true;
      aborted = true;
    }
    group->changed.notify_all();
    if (worker.joinable()) worker.join();
  }
};

thread_local std::vector<std::pair<Communicator*, Operation>> grouped;
thread_local bool in_group = false;

void carry_out(Communicator& mine, const std::vector<Operation>& operations) {
  Group& group = *mine.group;
  for (const Operation& operation : operations) {
    if (!operation.sends) continue;
    std::vector<char> bytes(operation.bytes);
    to_host(bytes.data(), operation.memory, operation.bytes, operation.stream);
    const std::lock_guard lock(group.mutex);
    group.messages[{mine.rank, operation.peer}].push_back(std::move(bytes));
    group.changed.notify_all();
  }
  for (const Operation& operation : operations) {
    if (operation.sends) continue;
    std::vector<char> bytes;
    {
      std::unique_lock lock(group.mutex);
      auto& queue = group.messages[{operation.peer, mine.rank}];
      group.changed.wait(lock, [&] { return !queue.empty() || group.gone[operation.peer] || mine.aborted; });
      if (queue.empty()) return void(mine.set(kRemoteError));
      bytes = std::move(queue.front());
      queue.pop_front();
    }
    if (bytes.size() != operation.bytes) return void(mine.set(kInvalidUsage));
    to_device(operation.memory, bytes.data(), bytes.size(), operation.stream);
  }
  mine.set(kSuccess);
}

int add(bool sends, void* memory, size_t count, int type, int peer, Communicator* communicator, void* stream) {
  if (!in_group || type != 0 || count == 0 || !memory || peer == communicator->rank || peer < 0 ||
      peer >= communicator->size)
    return kInvalidArgument;
  grouped.push_back({communicator, {sends, static_cast<char*>(memory), count, peer, stream}});
  return kSuccess;
}

}  // namespace

extern "C" {
#pragma GCC visibility push(default)

void fake_nccl_use(ToHost read, ToDevice write) {
  to_host = read;
  to_device = write;
}

int ncclGetUniqueId(UniqueId* id) {
  static int made = 0;
  std::memset(id, 0, sizeof(*id));
  const std::lock_guard lock(groups_mutex);
  std::strcpy(id->internal, ("group " + std::to_string(made++)).c_str());
  return kSuccess;
}

int ncclCommInitRankConfig(Communicator** communicator, int size, UniqueId id, int rank, Config* config) {
  if (!config || config->magic != 0xcafebeef || config->version < 21400 || config->size < sizeof(Config) ||
      config->blocking != 0 || rank < 0 || rank >= size)
    return kInvalidArgument;
  std::shared_ptr<Group> group;
  {
    const std::lock_guard lock(groups_mutex);
    auto& known = groups[id.internal];
    if (!known) known = std::make_shared<Group>();
    group = known;
  }
  auto* const made = new Communicator;
  made->group = group;
  made->rank = rank;
  made->size = size;
  *communicator = made;
  made->worker = std::thread([made, group, size] {
    std::unique_lock lock(group->mutex);
    ++group->joined;
    group->changed.notify_all();
    group->changed.wait(lock, [&] { return group->joined == size || made->aborted; });
    made->set(made->aborted ? kRemoteError : kSuccess);
  });
  return kInProgress;
}

int ncclCommGetAsyncError(Communicator* communicator, int* status) {
  const std::lock_guard lock(communicator->mutex);
  *status = communicator->status;
  return kSuccess;
}

int ncclGroupStart() {
  if (in_group) return kInvalidUsage;
  in_group = true;
  return kSuccess;
}

int ncclGroupEnd() {
  if (!in_group) return kInvalidUsage;
  in_group = false;
  if (grouped.empty()) return kSuccess;
  Communicator* const communicator = grouped.front().first;
  std::vector<Operation> operations;
  for (const auto& [of, operation] : grouped) operations.push_back(operation);
  grouped.clear();
  if (communicator->worker.joinable()) communicator->worker.join();
  communicator->set(kInProgress);
  communicator->worker = std::thread([communicator, operations] { carry_out(*communicator, operations); });
  return kInProgress;
}

int ncclSend(const void* from, size_t count, int type, int peer, Communicator* communicator, void* stream) {
  return add(true, const_cast<void*>(from), count, type, peer, communicator, stream);
}

int ncclRecv(void* to, size_t count, int type, int peer, Communicator* communicator, void* stream) {
  return add(false, to, count, type, peer, communicator, stream);
}

int ncclCommDestroy(Communicator* communicator) {
  communicator->leave();
  delete communicator;
  return kSuccess;
}

int ncclCommAbort(Communicator* communicator) { return ncclCommDestroy(communicator); }

const char* ncclGetErrorString(int status) { return status == kRemoteError ? "remote process exited" : "misuse"; }

#pragma GCC visibility pop
}
