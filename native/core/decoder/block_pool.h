// The blocks of a cache: who uses how many, and in which order free ones are taken.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace moe {

struct PrefixNode;

// A block without users is free. Free blocks whose tokens can be found again are taken last, the least recently used of
// them first.
class BlockPool {
 public:
  explicit BlockPool(int32_t blocks);

  // A free block, with one user from now on; there must be one. `forgotten` becomes the node that had it, or null.
  int32_t take(PrefixNode*& forgotten);
  void use(int32_t block);
  void give_back(int32_t block);

  // The node whose tokens are in the block; null where none can find it.
  PrefixNode* node(int32_t block) const { return entries_[block].node; }
  void set_node(int32_t block, PrefixNode* node) { entries_[block].node = node; }  // while it has users

  bool is_free(int32_t block) const { return entries_[block].users == 0; }
  int32_t size() const { return static_cast<int32_t>(entries_.size()) - 1; }
  int32_t free() const { return free_; }
  int32_t kept() const { return kept_; }  // of the free ones: those with a node

 private:
  // The free blocks are a ring through the entry behind the last block, the next to be taken first.
  struct Entry {
    int32_t before, after;
    int32_t users = 0;
    PrefixNode* node = nullptr;
  };

  void unlink(int32_t block);
  void link_behind(int32_t place, int32_t block);

  std::vector<Entry> entries_;
  int32_t free_ = 0, kept_ = 0;
};

}  // namespace moe
