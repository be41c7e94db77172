// Which blocks hold which tokens: a tree of full blocks, from the start of texts.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/decoder_stages.h"

namespace moe {

// A block's tokens, behind those of its parent. It stays for as long as it is pinned: by children, by blocks that hold
// it, by sequences that have come so far.
struct PrefixNode {
  PrefixNode* parent;  // null at the start of a text
  std::array<int32_t, kKvBlock> tokens;
  uint64_t hash;  // of the tokens and the parent's hash
  int64_t pins = 0;
  std::vector<int32_t> blocks;  // of each group; -1: not in its cache
};

class PrefixTree {
 public:
  explicit PrefixTree(size_t groups) : groups_(groups) {}

  // The node of kKvBlock tokens behind `parent`, null where there is none.
  PrefixNode* find(PrefixNode* parent, std::span<const int32_t> tokens) const;
  PrefixNode& find_or_add(PrefixNode* parent, std::span<const int32_t> tokens);
  void pin(PrefixNode* node);  // does nothing with null
  void unpin(PrefixNode* node);
  size_t nodes() const { return nodes_.size(); }

 private:
  size_t groups_;
  std::unordered_multimap<uint64_t, std::unique_ptr<PrefixNode>> nodes_;
};

}  // namespace moe
