// HCCL: communicators and their collectives. Exported by libhccl.so, from CANN 9 on in part by libhcomm.so.
#pragma once
#include <cstdint>

#include "ascend/cann/types.h"

namespace moe::ascend::cann {

using Communicator = void*;
using CollectiveStatus = int;  // 0 is success
constexpr CollectiveStatus kCollectiveTimeout = 9;
constexpr int kCollectiveInt8 = 0;  // HCCL numbers types in its own way

// What rank 0 makes and every rank gives.
struct RootInfo {
  char internal[4108];
};

struct Collectives {
  CollectiveStatus (*root_info)(RootInfo* root);
  CollectiveStatus (*init)(uint32_t ranks, const RootInfo* root, uint32_t rank, Communicator* communicator);
  // Counts and offsets are arrays of uint64_t in host memory, one for each rank, in elements.
  CollectiveStatus (*all_to_all_v)(const void* send, const void* send_counts, const void* send_offsets, int send_type,
                                   const void* receive, const void* receive_counts, const void* receive_offsets,
                                   int receive_type, Communicator communicator, Stream stream);
  CollectiveStatus (*async_error)(Communicator communicator, CollectiveStatus* error);
  CollectiveStatus (*destroy)(Communicator communicator);
  const char* (*error_string)(CollectiveStatus status);

  // Calls visit(name of the symbol, function pointer) for each.
  template <class Visitor>
  void each(Visitor visit) {
    visit("HcclGetRootInfo", root_info);
    visit("HcclCommInitRootInfo", init);
    visit("HcclAlltoAllV", all_to_all_v);
    visit("HcclGetCommAsyncError", async_error);
    visit("HcclCommDestroy", destroy);
    visit("HcclGetErrorString", error_string);
  }
};

}  // namespace moe::ascend::cann
