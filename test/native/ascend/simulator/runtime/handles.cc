#include "handles.h"

#include <sys/mman.h>

#include <map>
#include <mutex>

namespace ascend_sim {
namespace {

constexpr size_t kReserved = size_t{64} << 30;
constexpr size_t kHandles = size_t{1} << 30;
constexpr size_t kSpacing = 16;

struct Handles {
  std::mutex mutex;
  uintptr_t base = 0;
  uintptr_t next_handle = 0;
  uintptr_t next_address = 0;
  std::map<uintptr_t, std::shared_ptr<Object>> live;
};

Handles& handles() {
  static Handles& handles = *[] {
    auto* const made = new Handles;
    void* const area = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    made->base = area == MAP_FAILED ? uintptr_t{1} << 44 : reinterpret_cast<uintptr_t>(area);
    made->next_handle = made->base + kSpacing;
    made->next_address = made->base + kHandles;
    return made;
  }();
  return handles;
}

std::string why_not_live(const Handles& all, uintptr_t address) {
  if (address == 0) return "is null";
  const bool issued = address > all.base && address < all.next_handle && (address - all.base) % kSpacing == 0;
  return issued ? "was destroyed before" : "was never made by this library";
}

}  // namespace

uintptr_t reserve_addresses(size_t size, size_t alignment) {
  Handles& all = handles();
  const std::lock_guard lock(all.mutex);
  const uintptr_t address = (all.next_address + alignment - 1) / alignment * alignment;
  if (size > all.base + kReserved - address) throw Failure{kBadAlloc, "the simulator's addresses are used up"};
  all.next_address = address + size;
  return address;
}

void* add_handle(std::shared_ptr<Object> object) {
  Handles& all = handles();
  const std::lock_guard lock(all.mutex);
  const uintptr_t address = all.next_handle;
  all.next_handle += kSpacing;
  all.live.emplace(address, std::move(object));
  return reinterpret_cast<void*>(address);
}

std::shared_ptr<Object> find_handle(const void* handle, std::string& trouble) {
  Handles& all = handles();
  const auto address = reinterpret_cast<uintptr_t>(handle);
  const std::lock_guard lock(all.mutex);
  const auto found = all.live.find(address);
  if (found != all.live.end()) return found->second;
  trouble = why_not_live(all, address);
  return nullptr;
}

std::shared_ptr<Object> take_handle(const void* handle, std::string& trouble) {
  auto object = find_handle(handle, trouble);
  if (!object) return nullptr;
  Handles& all = handles();
  const std::lock_guard lock(all.mutex);
  all.live.erase(reinterpret_cast<uintptr_t>(handle));
  return object;
}

std::string leaked_handles() {
  Handles& all = handles();
  const std::lock_guard lock(all.mutex);
  std::map<std::string, int> counts;
  for (const auto& [address, object] : all.live) ++counts[object->describe()];
  std::string text;
  counts.erase("");  // what exists without having been asked for
  for (const auto& [what, count] : counts)
    text += "leak: " + std::to_string(count) + " x " + what + " never destroyed\n";
  return text;
}

}  // namespace ascend_sim
