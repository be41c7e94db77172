#include "ascend/npu.h"

#include <atomic>
#include <utility>

#include "core/error.h"

namespace moe::ascend {
namespace {

// The device this thread has bound last, so that binding again costs nothing.
thread_local uint64_t bound = 0;

// Exceptions of the cores and of the device's own processor: the context does not recover.
bool is_final(cann::Status status) { return status >= cann::kFirstFinal && status <= cann::kLastFinal; }

uint64_t next_id() {
  static std::atomic<uint64_t> ids{0};
  return ++ids;
}

bool is_out_of_memory(cann::Status status) { return status == cann::kBadAlloc || status == cann::kRuntimeOutOfMemory; }

}  // namespace

Npu::Npu(const CannLibrary& cann, int index)
    : cann_(cann), profile_(profile_of(cann.runtime.soc_name())), index_(index), id_(next_id()) {
  check(cann_.runtime.set_device(index_), "aclrtSetDevice");
  try {
    check(cann_.runtime.current_context(&context_), "aclrtGetCurrentContext");
    check(cann_.runtime.create_stream(&stream_), "aclrtCreateStream");
  } catch (const Error&) {
    cann_.runtime.reset_device(index_);
    throw;
  }
  bound = id_;
}

Npu::~Npu() {
  cann_.runtime.set_current_context(context_);
  abandon();
  cann_.runtime.destroy_stream(stream_);
  cann_.runtime.reset_device(index_);
  bound = 0;
}

void Npu::bind() {
  if (bound == id_) return;
  check(cann_.runtime.set_current_context(context_), "aclrtSetCurrentContext");
  bound = id_;
}

void* Npu::allocate(size_t bytes) {
  void* memory = nullptr;
  const cann::Status status = cann_.runtime.malloc(&memory, bytes, cann::MallocPolicy::kHugeFirst);
  if (is_out_of_memory(status)) {
    const std::string reason = cann_.recent_error();
    size_t free = 0, total = 0;
    cann_.runtime.memory_info(cann::MemoryAttribute::kHBM, &free, &total);
    throw Error(ErrorCode::kOutOfMemory, "The device has no " + std::to_string(bytes) + " bytes left, " +
                                             std::to_string(free) + " of " + std::to_string(total) +
                                             " are free (status " + std::to_string(status) + ")" + reason);
  }
  check(status, "aclrtMalloc");
  return memory;
}

void Npu::deallocate(void* memory) noexcept {
  if (!memory) return;
  if (bound != id_) cann_.runtime.set_current_context(context_);
  bound = id_;
  abandon();
  cann_.runtime.free(memory);
}

void Npu::copy_to_device(void* device, const void* pinned, size_t bytes) {
  copy(device, pinned, bytes, cann::MemcpyKind::kHostToDevice);
}

void Npu::copy_to_host(void* pinned, const void* device, size_t bytes) {
  copy(pinned, device, bytes, cann::MemcpyKind::kDeviceToHost);
}

void Npu::copy(void* to, const void* from, size_t bytes, cann::MemcpyKind kind) {
  if (bytes == 0) return;
  mark_busy();
  check(cann_.runtime.memcpy_async(to, bytes, from, bytes, kind, stream_), "aclrtMemcpyAsync");
}

void Npu::clear(void* device, size_t bytes) {
  if (bytes == 0) return;
  mark_busy();
  check(cann_.runtime.memset_async(device, bytes, 0, bytes, stream_), "aclrtMemsetAsync");
}

void Npu::wait() {
  check(cann_.runtime.synchronize_stream(stream_), "aclrtSynchronizeStream");
  busy_ = false;
}

void Npu::abandon() noexcept {
  if (std::exchange(busy_, false)) cann_.runtime.synchronize_stream(stream_);
}

void Npu::check(cann::Status status, const char* call) const {
  if (status == cann::kSuccess) return;
  std::string message = std::string(call) + " failed with " + std::to_string(status) + cann_.recent_error();
  if (status == cann::kMissingOppPath) message += " (ASCEND_OPP_PATH does not name CANN's operator package)";
  if (status == cann::kMissingOppKernels) message += " (CANN's kernel package for this chip is not installed)";
  if (is_out_of_memory(status)) throw Error(ErrorCode::kOutOfMemory, message);
  throw Error(is_final(status) ? ErrorCode::kDeviceLost : ErrorCode::kDevice, message);
}

}  // namespace moe::ascend
