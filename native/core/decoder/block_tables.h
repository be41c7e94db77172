// The blocks of sequences: which they have, which they may still take, and which beginnings they share.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/decoder/block_pool.h"
#include "core/decoder/prefix_tree.h"

namespace moe {

// What a sequence has. BlockTables makes it, and takes it back.
struct SequenceBlocks {
  struct Group {
    std::vector<int32_t> table;  // the block of each kKvBlock tokens; -1 where a window has passed
    int64_t reserved = 0;        // blocks that it may still take
    int64_t passed = 0;          // blocks that the window has passed
  };
  std::vector<Group> groups;
  PrefixNode* prefix = nullptr;  // of its last full block that can be found
  int64_t findable = 0;          // its full blocks up to there
  int64_t cached = 0;            // tokens that were there when it came
};

struct BlockUsage {
  int64_t blocks = 0, free = 0, kept = 0;
};

// Layers with the same window share tables: a group, of as many blocks as every other. Not for several threads at once.
class BlockTables {
 public:
  // windows: of each group; 0: none.
  BlockTables(std::vector<int64_t> windows, int32_t blocks, bool keep_prefixes);

  // Gives a sequence the blocks of its beginning that are there, all but its last token at most, and room for the rest
  // and for new_tokens more. Nothing where there is no room now; throws kShape where there never will be. Without
  // `shares` it takes nothing that is there.
  std::optional<SequenceBlocks> admit(std::span<const int32_t> tokens, int64_t new_tokens, bool shares = true);
  // Takes blocks for the first `tokens` tokens.
  void extend(SequenceBlocks& sequence, int64_t tokens);
  // The first `computed` of the tokens are in the cache now: their full blocks can be found from here on, and those
  // that a window has passed are given back.
  void advance(SequenceBlocks& sequence, std::span<const int32_t> tokens, int64_t computed);
  void release(SequenceBlocks& sequence);

  // Of the group that has the fewest free blocks, which are those that nobody has reserved.
  BlockUsage usage() const;
  size_t known_prefixes() const { return tree_.nodes(); }

 private:
  struct Group {
    int64_t window;
    BlockPool pool;
    int64_t reserved = 0;

    // The first block that a token at `position` reads.
    int64_t first_block(int64_t position) const;
    int64_t unreserved() const { return pool.free() - reserved; }
  };

  std::vector<PrefixNode*> known_prefix(std::span<const int32_t> tokens) const;
  int64_t longest_hit(const std::vector<PrefixNode*>& known) const;
  int32_t take(size_t group);

  std::vector<Group> groups_;
  bool keep_prefixes_;
  PrefixTree tree_;
};

}  // namespace moe
