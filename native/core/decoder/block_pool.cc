#include "core/decoder/block_pool.h"

#include <utility>

namespace moe {

BlockPool::BlockPool(int32_t blocks) : entries_(static_cast<size_t>(blocks) + 1) {
  entries_[blocks] = {blocks, blocks};
  for (int32_t block = 0; block < blocks; ++block) link_behind(entries_[blocks].before, block);
}

int32_t BlockPool::take(PrefixNode*& forgotten) {
  const int32_t block = entries_[size()].after;
  unlink(block);
  entries_[block].users = 1;
  forgotten = std::exchange(entries_[block].node, nullptr);
  return block;
}

void BlockPool::use(int32_t block) {
  if (entries_[block].users == 0) unlink(block);
  ++entries_[block].users;
}

void BlockPool::give_back(int32_t block) {
  if (--entries_[block].users > 0) return;
  const int32_t ring = size();
  link_behind(entries_[block].node ? entries_[ring].before : ring, block);
}

void BlockPool::unlink(int32_t block) {
  const Entry& entry = entries_[block];
  entries_[entry.before].after = entry.after;
  entries_[entry.after].before = entry.before;
  --free_;
  if (entry.node) --kept_;
}

void BlockPool::link_behind(int32_t place, int32_t block) {
  Entry& entry = entries_[block];
  entry.before = place;
  entry.after = entries_[place].after;
  entries_[entry.after].before = block;
  entries_[place].after = block;
  ++free_;
  if (entry.node) ++kept_;
}

}  // namespace moe
