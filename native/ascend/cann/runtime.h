// The ACL runtime: devices, memory, streams. Exported by libacl_rt.so and, under its older name, by
// libascendcl.so.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ascend/cann/types.h"

namespace moe::ascend::cann {

struct Runtime {
  Status (*init)(const char* config_path);
  const char* (*recent_error)();  // of this thread; reading it clears it, and it may be null
  const char* (*soc_name)();
  Status (*device_count)(uint32_t* count);

  // The device is current for the calling thread only. Each set is to be met by a reset.
  Status (*set_device)(int32_t device);
  Status (*reset_device)(int32_t device);
  Status (*current_context)(Context* context);
  Status (*set_current_context)(Context context);
  Status (*memory_info)(MemoryAttribute attribute, size_t* free, size_t* total);

  Status (*create_stream)(Stream* stream);
  Status (*destroy_stream)(Stream stream);
  Status (*synchronize_stream)(Stream stream);

  // Device memory: 64-byte aligned, never zeroed, never of size 0.
  Status (*malloc)(void** memory, size_t bytes, MallocPolicy policy);
  Status (*free)(void* memory);
  // Host memory that asynchronous copies may use.
  Status (*malloc_host)(void** memory, size_t bytes);
  Status (*free_host)(void* memory);
  Status (*memcpy_async)(void* to, size_t to_bytes, const void* from, size_t bytes, MemcpyKind kind, Stream stream);
  Status (*memset_async)(void* memory, size_t memory_bytes, int32_t value, size_t bytes, Stream stream);

  // Calls visit(name of the symbol, function pointer) for each.
  template <class Visitor>
  void each(Visitor visit) {
    visit("aclInit", init);
    visit("aclGetRecentErrMsg", recent_error);
    visit("aclrtGetSocName", soc_name);
    visit("aclrtGetDeviceCount", device_count);
    visit("aclrtSetDevice", set_device);
    visit("aclrtResetDevice", reset_device);
    visit("aclrtGetCurrentContext", current_context);
    visit("aclrtSetCurrentContext", set_current_context);
    visit("aclrtGetMemInfo", memory_info);
    visit("aclrtCreateStream", create_stream);
    visit("aclrtDestroyStream", destroy_stream);
    visit("aclrtSynchronizeStream", synchronize_stream);
    visit("aclrtMalloc", malloc);
    visit("aclrtFree", free);
    visit("aclrtMallocHost", malloc_host);
    visit("aclrtFreeHost", free_host);
    visit("aclrtMemcpyAsync", memcpy_async);
    visit("aclrtMemsetAsync", memset_async);
  }
};

}  // namespace moe::ascend::cann
