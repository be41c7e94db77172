// What Debian's libgcc takes from glibc 2.35 to unwind the stack, in terms of what musl has. Linked into every program
// of a musl build, hidden there.
#include <link.h>
#include <stddef.h>
#include <stdint.h>

// The part of glibc's structure that x86-64 has; libgcc reads eh_frame.
struct found_object {
  uint64_t flags;
  void* map_start;
  void* map_end;
  void* link_map;
  void* eh_frame;
  uint64_t reserved[7];
};

struct search {
  uintptr_t address;
  struct found_object* found;
};

static int look_into(struct dl_phdr_info* object, size_t size, void* data) {
  (void)size;
  struct search* const search = data;
  uintptr_t begin = UINTPTR_MAX, end = 0, eh_frame = 0;
  int inside = 0;
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const uintptr_t start = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
    if (object->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) eh_frame = start;
    if (object->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const uintptr_t stop = start + object->dlpi_phdr[i].p_memsz;
    inside |= start <= search->address && search->address < stop;
    if (start < begin) begin = start;
    if (stop > end) end = stop;
  }
  if (!inside || !eh_frame) return 0;
  search->found->map_start = (void*)begin;
  search->found->map_end = (void*)end;
  search->found->eh_frame = (void*)eh_frame;
  return 1;
}

// 0 when the object that holds an address was found, as glibc has it.
int _dl_find_object(void* address, struct found_object* found) {
  struct search search = {(uintptr_t)address, found};
  return dl_iterate_phdr(look_into, &search) ? 0 : -1;
}
