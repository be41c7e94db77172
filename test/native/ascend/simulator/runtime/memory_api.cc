// Memory, copies and fills.
#include <cstring>

#include "context.h"
#include "memory.h"
#include "profile.h"

namespace ascend_sim {
namespace {

uintptr_t value_of(const void* address) { return reinterpret_cast<uintptr_t>(address); }

struct Copy {
  void* to;
  size_t to_pitch;
  const void* from;
  size_t from_pitch;
  size_t width;
  size_t height;

  size_t to_size() const { return height == 0 ? 0 : (height - 1) * to_pitch + width; }
  size_t from_size() const { return height == 0 ? 0 : (height - 1) * from_pitch + width; }
  Access read() const { return {value_of(from), value_of(from) + from_size(), false, "the source of the copy"}; }
  Access written() const { return {value_of(to), value_of(to) + to_size(), true, "the destination of the copy"}; }
};

void check_copy(const Copy& copy, int kind) {
  require_pointer(copy.to, "the destination");
  require_pointer(copy.from, "the source");
  require(copy.width <= copy.to_pitch && copy.width <= copy.from_pitch, kInvalidParam,
          "the width " + std::to_string(copy.width) + " is more than a pitch");
  require(kind >= kHostToHost && kind <= kDefaultKind, kInvalidParam, "there is no copy kind " + std::to_string(kind));
  const bool to_device = place_of(copy.to) == Place::kDevice;
  const bool from_device = place_of(copy.from) == Place::kDevice;
  const int direction = (from_device ? 2 : 0) + (to_device ? 1 : 0);
  static const char* const names[] = {"host to host", "host to device", "device to host", "device to device"};
  require(kind == kDefaultKind || kind == direction, kInvalidParam,
          std::string("the kind says ") + names[kind % 4] + ", the pointers " + names[direction]);
  resolve(copy.to, copy.to_size(), "the destination of the copy");
  resolve(copy.from, copy.from_size(), "the source of the copy");
}

void run(const Copy& copy) {
  const Span to = resolve(copy.to, copy.to_size(), "the destination of the copy");
  const Span from = resolve(copy.from, copy.from_size(), "the source of the copy");
  to.written(copy.to_size());
  for (size_t row = 0; row < copy.height; ++row)
    std::memmove(to.bytes + row * copy.to_pitch, from.bytes + row * copy.from_pitch, copy.width);
}

void copy_now(const Copy& copy, int kind) {
  require_initialized();
  current_context();
  check_copy(copy, kind);
  check_host_access(copy.read());
  check_host_access(copy.written());
  run(copy);
}

// What the host holds between the call and the copy's end is undefined: a checksum shows when it was changed.
uint64_t checksum(const void* bytes, size_t size) {
  uint64_t sum = 1469598103934665603U;
  for (size_t i = 0; i < size; ++i) sum = (sum ^ static_cast<const uint8_t*>(bytes)[i]) * 1099511628211U;
  return sum;
}

// Whoever reads the destination before the copy has run shall see nothing that looks right. Work queued before may
// still need what is there: then it stays.
void spoil(const Copy& copy) {
  try {
    check_host_access(copy.written());
  } catch (const Fault&) {
    return;
  }
  for (size_t row = 0; row < copy.height; ++row)
    poison(static_cast<std::byte*>(copy.to) + row * copy.to_pitch, copy.width);
}

void copy_later(const Copy& copy, int kind, aclrtStream handle) {
  const auto stream = stream_here(handle);
  check_copy(copy, kind);
  const Place to = place_of(copy.to);
  const Place from = place_of(copy.from);
  require(to == Place::kDevice || from == Place::kDevice, kRtFeatureNotSupport,
          "an asynchronous copy from host to host is not supported");
  const bool pageable = to == Place::kPageable || from == Place::kPageable;
  require(!pageable || soc() != Soc::k310P, kRtDmaAddress,
          "on a 310P the host memory of an asynchronous copy must come from aclrtMallocHost");
  if (from == Place::kPinned) {
    const uint64_t before = checksum(copy.from, copy.from_size());
    enqueue(*stream, "aclrtMemcpyAsync", {copy.read(), copy.written()}, [copy, before] {
      require(checksum(copy.from, copy.from_size()) == before, kInvalidParam,
              "the host changed the source before the copy had run");
      run(copy);
    });
    return;
  }
  if (to == Place::kPinned) spoil(copy);
  enqueue(*stream, "aclrtMemcpyAsync", {copy.read(), copy.written()}, [copy] { run(copy); });
  if (pageable) wait_for(*stream);
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

size_t aclDataTypeSize(int type) {
  switch (type) {
    case kInt8:
    case kUint8:
    case kBool:
      return 1;
    case kFloat16:
    case kBf16:
    case kInt16:
    case kUint16:
      return 2;
    case kFloat:
    case kInt32:
    case kUint32:
      return 4;
    case kInt64:
    case kUint64:
    case kDouble:
      return 8;
    default:
      return 0;
  }
}

aclError aclrtMalloc(void** memory, size_t size, int policy) {
  return call("aclrtMalloc", [&] {
    require_pointer(memory, "memory");
    require(size > 0, kInvalidParam, "the size is 0");
    static const int policies[] = {0, 1, 2, 3, 4, 5, 6, 7, 0x0100, 0x1000, 0x100000};
    bool known = false;
    for (const int value : policies) known = known || value == policy;
    require(known, kInvalidParam, "there is no policy " + std::to_string(policy));
    *memory = allocate_device(current_context()->device, size);
  });
}

aclError aclrtMallocAlign32(void** memory, size_t size, int) {
  return call("aclrtMallocAlign32", [&] {
    require_pointer(memory, "memory");
    require(size > 0, kInvalidParam, "the size is 0");
    *memory = allocate_device(current_context()->device, size);
  });
}

aclError aclrtFree(void* memory) {
  return call("aclrtFree", [&] {
    require_pointer(memory, "memory");
    size_t size = 1;
    if (place_of(memory) == Place::kDevice) size = block_of(memory, 1, "the memory")->size;
    bool used = false;
    std::string sentence;
    try {
      if (!device_lost()) check_host_access({value_of(memory), value_of(memory) + size, true, "memory that is freed"});
    } catch (const Fault& fault) {
      used = true;
      sentence = fault.sentence;
    }
    free_device(memory);
    require(!used, kInvalidParam, sentence);
  });
}

aclError aclrtMallocHost(void** memory, size_t size) {
  return call("aclrtMallocHost", [&] {
    require_pointer(memory, "memory");
    require(size > 0, kInvalidParam, "the size is 0");
    current_context();
    *memory = allocate_pinned(size);
  });
}

aclError aclrtFreeHost(void* memory) {
  return call("aclrtFreeHost", [&] {
    require_pointer(memory, "memory");
    if (!device_lost()) check_host_access({value_of(memory), value_of(memory) + 1, true, "host memory that is freed"});
    free_pinned(memory);
  });
}

aclError aclrtMemcpy(void* to, size_t to_size, const void* from, size_t count, int kind) {
  return call("aclrtMemcpy", [&] {
    require(count <= to_size, kInvalidParam,
            std::to_string(count) + " bytes do not fit in a destination of " + std::to_string(to_size));
    copy_now({to, count, from, count, count, 1}, kind);
  });
}

aclError aclrtMemcpyAsync(void* to, size_t to_size, const void* from, size_t count, int kind, aclrtStream stream) {
  return call("aclrtMemcpyAsync", [&] {
    require(count <= to_size, kInvalidParam,
            std::to_string(count) + " bytes do not fit in a destination of " + std::to_string(to_size));
    copy_later({to, count, from, count, count, 1}, kind, stream);
  });
}

aclError aclrtMemcpy2d(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                       int kind) {
  return call("aclrtMemcpy2d", [&] { copy_now({to, to_pitch, from, from_pitch, width, height}, kind); });
}

aclError aclrtMemcpy2dAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                            int kind, aclrtStream stream) {
  return call("aclrtMemcpy2dAsync", [&] { copy_later({to, to_pitch, from, from_pitch, width, height}, kind, stream); });
}

aclError aclrtMemset(void* memory, size_t size, int32_t value, size_t count) {
  return call("aclrtMemset", [&] {
    require_pointer(memory, "memory");
    require(count <= size, kInvalidParam, "the count is more than the size");
    current_context();
    check_host_access({value_of(memory), value_of(memory) + count, true, "memory that is filled"});
    std::memset(resolve(memory, count, "the memory").bytes, value, count);
  });
}

aclError aclrtMemsetAsync(void* memory, size_t size, int32_t value, size_t count, aclrtStream stream) {
  return call("aclrtMemsetAsync", [&] {
    require_pointer(memory, "memory");
    require(count <= size, kInvalidParam, "the count is more than the size");
    block_of(memory, count, "the memory");
    enqueue(*stream_here(stream), "aclrtMemsetAsync",
            {{value_of(memory), value_of(memory) + count, true, "memory that is filled"}},
            [=] { std::memset(resolve(memory, count, "the memory").bytes, value, count); });
  });
}

aclError aclrtGetMemInfo(int attribute, size_t* free, size_t* total) {
  return call("aclrtGetMemInfo", [&] {
    require(attribute >= 0 && attribute <= 17, kInvalidParam,
            "there is no memory attribute " + std::to_string(attribute));
    const size_t used = used_memory(current_context()->device);
    *total = device_memory();
    *free = *total > used ? *total - used : 0;
  });
}

}  // extern "C"
