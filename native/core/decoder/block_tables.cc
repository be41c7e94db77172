#include "core/decoder/block_tables.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace moe {
namespace {

int64_t blocks_of(int64_t tokens) { return (tokens + kKvBlock - 1) / kKvBlock; }

}  // namespace

int64_t BlockTables::Group::first_block(int64_t position) const {
  return window > 0 ? std::max<int64_t>(0, position - window + 1) / kKvBlock : 0;
}

BlockTables::BlockTables(std::vector<int64_t> windows, int32_t blocks, bool keep_prefixes)
    : keep_prefixes_(keep_prefixes), tree_(windows.size()) {
  for (const int64_t window : windows) groups_.push_back({window, BlockPool(blocks)});
}

std::vector<PrefixNode*> BlockTables::known_prefix(std::span<const int32_t> tokens) const {
  std::vector<PrefixNode*> known;
  const auto whole = (static_cast<int64_t>(tokens.size()) - 1) / kKvBlock;  // the last token is computed in any case
  PrefixNode* node = nullptr;
  for (int64_t block = 0; keep_prefixes_ && block < whole; ++block) {
    node = tree_.find(node, tokens.subspan(block * kKvBlock, kKvBlock));
    if (!node) break;
    known.push_back(node);
  }
  return known;
}

// Blocks of the longest beginning of which every group has what a token behind it reads.
int64_t BlockTables::longest_hit(const std::vector<PrefixNode*>& known) const {
  const auto count = static_cast<int64_t>(known.size());
  int64_t hit = 0;
  std::vector<int64_t> since(groups_.size(), 0);  // every block from here on is there
  for (int64_t end = 1; end <= count; ++end) {
    bool all = true;
    for (size_t group = 0; group < groups_.size(); ++group) {
      if (known[end - 1]->blocks[group] < 0) since[group] = end;
      all = all && since[group] <= groups_[group].first_block(end * kKvBlock);
    }
    if (all) hit = end;
  }
  return hit;
}

std::optional<SequenceBlocks> BlockTables::admit(std::span<const int32_t> tokens, int64_t new_tokens,
                                                 bool shares) {
  const int64_t all = blocks_of(static_cast<int64_t>(tokens.size()) + new_tokens);
  const std::vector<PrefixNode*> known = shares ? known_prefix(tokens) : std::vector<PrefixNode*>{};
  const int64_t hit = longest_hit(known);
  for (size_t group = 0; group < groups_.size(); ++group) {
    const Group& from = groups_[group];
    if (all > from.pool.size())
      throw Error(ErrorCode::kShape, "Expected prompt and new tokens to fit the cache of " +
                                         std::to_string(from.pool.size() * kKvBlock) + " tokens, got " +
                                         std::to_string(tokens.size()) + " + " + std::to_string(new_tokens));
    int64_t needed = all - hit;
    for (int64_t block = from.first_block(hit * kKvBlock); block < hit; ++block)
      if (from.pool.is_free(known[block]->blocks[group])) ++needed;
    if (needed > from.unreserved()) return std::nullopt;
  }

  SequenceBlocks sequence;
  sequence.cached = hit * kKvBlock;
  sequence.findable = hit;
  if (hit > 0) tree_.pin(sequence.prefix = known[hit - 1]);
  for (size_t group = 0; group < groups_.size(); ++group) {
    Group& from = groups_[group];
    const int64_t first = from.first_block(hit * kKvBlock);
    SequenceBlocks::Group& to = sequence.groups.emplace_back();
    to.passed = first;
    to.table.assign(hit, -1);
    for (int64_t block = first; block < hit; ++block) from.pool.use(to.table[block] = known[block]->blocks[group]);
    to.reserved = all - hit;
    from.reserved += to.reserved;
  }
  return sequence;
}

int32_t BlockTables::take(size_t group) {
  PrefixNode* forgotten;
  const int32_t block = groups_[group].pool.take(forgotten);
  if (forgotten) {
    forgotten->blocks[group] = -1;
    tree_.unpin(forgotten);
  }
  return block;
}

void BlockTables::extend(SequenceBlocks& sequence, int64_t tokens) {
  for (size_t group = 0; group < groups_.size(); ++group) {
    SequenceBlocks::Group& to = sequence.groups[group];
    while (static_cast<int64_t>(to.table.size()) < blocks_of(tokens)) {
      to.table.push_back(take(group));
      --to.reserved;
      --groups_[group].reserved;
    }
  }
}

void BlockTables::advance(SequenceBlocks& sequence, std::span<const int32_t> tokens, int64_t computed) {
  for (; keep_prefixes_ && (sequence.findable + 1) * kKvBlock <= computed; ++sequence.findable) {
    PrefixNode& node = tree_.find_or_add(sequence.prefix, tokens.subspan(sequence.findable * kKvBlock, kKvBlock));
    tree_.pin(&node);
    for (size_t group = 0; group < groups_.size(); ++group) {
      const int32_t block = sequence.groups[group].table[sequence.findable];
      if (node.blocks[group] >= 0) continue;  // another sequence came first
      node.blocks[group] = block;
      groups_[group].pool.set_node(block, &node);
      tree_.pin(&node);
    }
    tree_.unpin(sequence.prefix);
    sequence.prefix = &node;
  }
  for (size_t group = 0; group < groups_.size(); ++group) {
    SequenceBlocks::Group& of = sequence.groups[group];
    for (const int64_t first = groups_[group].first_block(computed); of.passed < first; ++of.passed) {
      groups_[group].pool.give_back(of.table[of.passed]);
      of.table[of.passed] = -1;
    }
  }
}

// The last blocks go first, for a beginning may be found without them.
void BlockTables::release(SequenceBlocks& sequence) {
  for (size_t group = 0; group < groups_.size(); ++group) {
    SequenceBlocks::Group& of = sequence.groups[group];
    for (auto block = of.table.rbegin(); block != of.table.rend(); ++block)
      if (*block >= 0) groups_[group].pool.give_back(*block);
    groups_[group].reserved -= of.reserved;
  }
  tree_.unpin(sequence.prefix);
  sequence = {};
}

BlockUsage BlockTables::usage() const {
  const Group& tightest = *std::ranges::min_element(groups_, {}, &Group::unreserved);
  return {tightest.pool.size(), tightest.unreserved(), std::min<int64_t>(tightest.pool.kept(), tightest.unreserved())};
}

}  // namespace moe
