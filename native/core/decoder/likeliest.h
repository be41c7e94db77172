// Tokens from the likeliest down, sorted only as far as somebody asks.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace moe {

struct Candidate {
  float logit;
  int32_t token;
};

constexpr bool is_likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

class Likeliest {
 public:
  // Of logits that are numbers and stay where they are; those of -infinity, and those below `floor`, are left out.
  explicit Likeliest(std::span<const float> logits, float floor = std::numeric_limits<float>::lowest())
      : logits_(logits) {
    keep_from(floor);
  }

  size_t size() const { return size_; }
  // The n-th, from 0.
  const Candidate& operator[](size_t n) {
    while (n >= sorted_.size()) sort_more();
    return sorted_[n];
  }
  // Drops the tokens below this logit, which is no lower than the floor so far.
  void keep_from(float logit) {
    floor_ = logit;
    size_ = static_cast<size_t>(std::ranges::count_if(logits_, [logit](float each) { return each >= logit; }));
    sorted_.resize(std::min(sorted_.size(), size_));
  }

 private:
  void sort_more();

  std::span<const float> logits_;
  float floor_ = 0;
  size_t size_ = 0;
  std::vector<Candidate> sorted_;
};

}  // namespace moe
