// Tokens from the likeliest down, sorted only as far as somebody asks.
#pragma once
#include <algorithm>
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
  // Of logits that are numbers; those of -infinity, and those below `floor`, are left out.
  explicit Likeliest(std::span<const float> logits, float floor = std::numeric_limits<float>::lowest());

  size_t size() const { return all_.size(); }
  // The n-th, from 0.
  const Candidate& operator[](size_t n) {
    while (n >= sorted_) sort_more();
    return all_[n];
  }
  // Drops the tokens below this logit.
  void keep_from(float logit) {
    const auto end = all_.begin() + static_cast<ptrdiff_t>(sorted_);
    const auto below = [logit](const Candidate& candidate) { return candidate.logit < logit; };
    sorted_ -= static_cast<size_t>(std::count_if(all_.begin(), end, below));
    std::erase_if(all_, below);
  }

 private:
  void sort_more();

  std::vector<Candidate> all_;
  size_t sorted_ = 0;
};

inline Likeliest::Likeliest(std::span<const float> logits, float floor) {
  for (size_t token = 0; token < logits.size(); ++token)
    if (logits[token] >= floor) all_.push_back({logits[token], static_cast<int32_t>(token)});
}

inline void Likeliest::sort_more() {
  const size_t first = sorted_;
  sorted_ = std::min(all_.size(), std::max<size_t>(64, sorted_ * 4));
  const auto begin = all_.begin() + static_cast<ptrdiff_t>(first), end = all_.begin() + static_cast<ptrdiff_t>(sorted_);
  if (sorted_ < all_.size()) std::nth_element(begin, end, all_.end(), is_likelier);
  std::sort(begin, end, is_likelier);
}

}  // namespace moe
