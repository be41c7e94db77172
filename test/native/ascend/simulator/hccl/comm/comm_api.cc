// Making groups and asking about them.
#include <sys/random.h>

#include <cstring>
#include <exception>
#include <thread>

#include "../../runtime/context.h"
#include "../../runtime/memory.h"
#include "../../runtime/profile.h"
#include "../communicator.h"

namespace ascend_sim {
namespace {

constexpr char kMagic[] = "ascend-sim-root";

std::string fresh_id() {
  uint64_t number = 0;
  while (getrandom(&number, sizeof number, 0) != sizeof number) continue;
  return std::to_string(number);
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

HcclResult HcclGetRootInfo(HcclRootInfo* root) {
  return call("HcclGetRootInfo", [&] {
    require(root != nullptr, kHcclPtr, "rootInfo is null");
    current_context();
    *root = {};
    std::memcpy(root->internal, kMagic, sizeof kMagic);
    const std::string id = fresh_id();
    std::memcpy(root->internal + sizeof kMagic, id.c_str(), id.size() + 1);
  });
}

HcclResult HcclCommInitRootInfo(uint32_t ranks, const HcclRootInfo* root, uint32_t rank, HcclComm* comm) {
  return call("HcclCommInitRootInfo", [&] {
    require(root != nullptr && comm != nullptr, kHcclPtr, "an argument is null");
    require(ranks >= 1 && rank < ranks, kHcclPara,
            "rank " + std::to_string(rank) + " is not in [0, " + std::to_string(ranks) + ")");
    require(std::memcmp(root->internal, kMagic, sizeof kMagic) == 0, kHcclPara,
            "rootInfo is not what HcclGetRootInfo of rank 0 gave");
    const auto context = current_context();
    *comm = add_handle(join_group(root->internal + sizeof kMagic, ranks, rank, context->device));
  });
}

HcclResult HcclCommInitAll(uint32_t devices, int32_t* ids, HcclComm* comms) {
  return call("HcclCommInitAll", [&] {
    require(ids != nullptr && comms != nullptr, kHcclPtr, "an argument is null");
    require(devices >= 1 && static_cast<int32_t>(devices) <= device_count(), kHcclPara,
            "there are not " + std::to_string(devices) + " devices");
    const std::string id = fresh_id();
    std::vector<std::shared_ptr<Communicator>> made(devices);
    std::vector<std::exception_ptr> failures(devices);
    std::vector<std::thread> threads;
    for (uint32_t rank = 0; rank < devices; ++rank)
      threads.emplace_back([&, rank] {
        try {
          made[rank] = join_group(id, devices, rank, ids[rank]);
        } catch (...) {
          failures[rank] = std::current_exception();
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const auto& failure : failures)
      if (failure) std::rethrow_exception(failure);
    for (uint32_t rank = 0; rank < devices; ++rank) comms[rank] = add_handle(made[rank]);
  });
}

HcclResult HcclGetCommName(HcclComm comm, char* name) {
  return call("HcclGetCommName", [&] {
    require(name != nullptr, kHcclPtr, "the name is null");
    std::strncpy(name, find<Communicator>(comm, kHcclPara)->name.c_str(), 128);
  });
}

HcclResult HcclGetRankSize(HcclComm comm, uint32_t* size) {
  return call("HcclGetRankSize", [&] { *size = find<Communicator>(comm, kHcclPara)->size; });
}

HcclResult HcclGetRankId(HcclComm comm, uint32_t* rank) {
  return call("HcclGetRankId", [&] { *rank = find<Communicator>(comm, kHcclPara)->rank; });
}

HcclResult HcclCommDestroy(HcclComm comm) {
  return call("HcclCommDestroy", [&] {
    const auto held = take<Communicator>(comm, kHcclPara);
    require(held->queued == 0, kHcclPara, "the communicator was destroyed while work of it is queued");
  });
}

HcclResult HcclGetCommAsyncError(HcclComm comm, HcclResult* error) {
  return call("HcclGetCommAsyncError", [&] {
    require(error != nullptr, kHcclPtr, "the result is null");
    *error = find<Communicator>(comm, kHcclPara)->error;
  });
}

const char* HcclGetErrorString(HcclResult code) {
  switch (code) {
    case 0:
      return "no error";
    case kHcclPara:
      return "parameter error";
    case kHcclPtr:
      return "null pointer";
    case kHcclInternal:
      return "internal error";
    case kHcclNotSupport:
      return "not supported";
    case kHcclTimeout:
      return "timeout";
    case 21:
      return "remote error";
    default:
      return "error";
  }
}

}  // extern "C"
