// Device memory has addresses that trap when the host touches them; its bytes lie elsewhere and are reached by
// `resolve`. Fresh memory holds a pattern that is NaN in float32, float16 and bfloat16 and no valid index in int32 or
// int64.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace ascend_sim {

struct Block {
  uintptr_t address = 0;
  size_t size = 0;  // as asked for
  int device = 0;
  std::unique_ptr<std::byte[]> bytes;
  // What an operator said about the numbers it wrote at an offset ("row order"), until they are written again.
  std::mutex mutex;
  std::map<size_t, std::string> notes;

  void note(size_t offset, const std::string& text);
  std::string note_at(size_t offset);
  void written(size_t offset, size_t size);
};

enum class Place { kDevice, kPinned, kPageable };

void* allocate_device(int device, size_t size);
void free_device(void* memory);
void* allocate_pinned(size_t size);
void free_pinned(void* memory);

Place place_of(const void* address);
size_t used_memory(int device);
void free_all(int device);  // the device was reset

// The live block of `size` bytes at a device address. Throws a Fault that names `what` when they are not all inside
// one.
std::shared_ptr<Block> block_of(const void* address, size_t size, const std::string& what);

// A byte range anywhere, held alive while it is used.
struct Span {
  std::shared_ptr<Block> block;  // null for host memory
  std::byte* bytes;
  void written(size_t size) const {
    if (block) block->written(bytes - block->bytes.get(), size);
  }
};
Span resolve(const void* address, size_t size, const std::string& what);

void poison(std::byte* bytes, size_t size);
std::string leaked_memory();
std::string hex(const void* address);

}  // namespace ascend_sim
