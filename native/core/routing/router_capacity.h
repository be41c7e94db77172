// How many slots an expert has, and the groups of tokens it is counted in.
#pragma once
#include <cstdint>

#include "core/config.h"

namespace moe {

struct TokenGroup {
  int64_t begin;
  int64_t end;

  int64_t size() const { return end - begin; }
};

// Consecutive tokens in groups of tokens_per_group, the last of which may be shorter; 0 makes one group of all.
// full_size() is that of the first group.
class TokenGroups {
 public:
  TokenGroups(int64_t tokens, int64_t tokens_per_group)
      : tokens_(tokens), full_size_(tokens_per_group > 0 && tokens_per_group < tokens ? tokens_per_group : tokens) {}

  int64_t full_size() const { return full_size_; }
  int64_t count() const { return tokens_ == 0 ? 0 : (tokens_ - 1) / full_size_ + 1; }
  TokenGroup operator[](int64_t index) const {
    const int64_t begin = index * full_size_;
    return {begin, tokens_ - begin < full_size_ ? tokens_ : begin + full_size_};
  }

 private:
  int64_t tokens_;
  int64_t full_size_;
};

// TopkRouterV1's slots per expert for a group of `tokens`: ceil(K * tokens * capacity_factor / E), in double from left
// to right as MindFormers computes it. It may exceed `tokens`.
int64_t capacity_v1(const MoEConfig& config, int64_t tokens);

constexpr int64_t kDropless = -1;

// TopkRouterV2's: expert_capacity where that is given, else at most `tokens`, then rounded up to a multiple of
// capacity_multiple; kDropless where capacity_factor <= 0.
int64_t capacity_v2(const MoEConfig& config, int64_t tokens);

}  // namespace moe
