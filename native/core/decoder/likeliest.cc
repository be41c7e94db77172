#include "core/decoder/likeliest.h"

namespace moe {

// A heap of the likeliest so far, the least of them on top: most tokens are passed over by one comparison, and few are
// ever written. Of equal logits the first to come stays.
void Likeliest::sort_more() {
  size_t count = std::max<size_t>(64, 4 * sorted_.size());
  if (count > size_ / 8) count = size_;
  sorted_.clear();
  sorted_.reserve(count);
  for (size_t token = 0; token < logits_.size(); ++token) {
    const Candidate candidate{logits_[token], static_cast<int32_t>(token)};
    if (!(candidate.logit >= floor_)) continue;
    if (sorted_.size() == count) {
      if (candidate.logit <= sorted_.front().logit) continue;
      std::ranges::pop_heap(sorted_, is_likelier);
      sorted_.back() = candidate;
    } else {
      sorted_.push_back(candidate);
    }
    if (count < size_) std::ranges::push_heap(sorted_, is_likelier);
  }
  std::ranges::sort(sorted_, is_likelier);
}

}  // namespace moe
