// NCCL, opened at run time: the few functions an all-to-all needs, with declarations of our own.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

namespace moe::cuda {

struct NcclCommunicator;

// Rank 0 makes it, every rank is given it, and calls take it by value.
struct NcclUniqueId {
  char internal[128];
};

// The configuration as it was in NCCL 2.14, which later versions go on taking: they read as much as `size` says, and
// know by `version` what that is.
struct NcclConfig {
  size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;  // calls return at once, so that a lost peer can be left
};

constexpr int kNcclSuccess = 0, kNcclInProgress = 7, kNcclInt8 = 0;

struct Nccl {
  int (*get_unique_id)(NcclUniqueId* id);
  int (*init)(NcclCommunicator** communicator, int ranks, NcclUniqueId id, int rank, NcclConfig* config);
  int (*async_error)(NcclCommunicator* communicator, int* status);
  int (*group_start)();
  int (*group_end)();
  int (*send)(const void* from, size_t count, int type, int rank, NcclCommunicator* communicator, cudaStream_t stream);
  int (*receive)(void* to, size_t count, int type, int rank, NcclCommunicator* communicator, cudaStream_t stream);
  int (*destroy)(NcclCommunicator* communicator);
  int (*abort)(NcclCommunicator* communicator);
  const char* (*error_string)(int status);
};

// It is null where libnccl.so.2 is not there or lacks one of them. It is opened once, and never closed.
const Nccl* nccl();

}  // namespace moe::cuda
