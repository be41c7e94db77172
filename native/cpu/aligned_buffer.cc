#include "cpu/aligned_buffer.h"

#include <sys/mman.h>

#include <string>

#include "core/error.h"

namespace moe::cpu {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

void* AlignedMemory::allocate(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes ? bytes : 1) != 0)
    throw Error(ErrorCode::kOutOfMemory, "Could not allocate " + std::to_string(bytes) + " bytes of memory");
#ifdef MADV_HUGEPAGE
  // Advice only: without huge pages the same memory works, with more misses in the page tables.
  if (alignment == kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

}  // namespace moe::cpu
