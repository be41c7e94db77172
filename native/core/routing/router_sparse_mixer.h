#pragma once
#include <cstdint>

namespace moe {

// Phi-3.5-MoE's choice of two experts, and their weights: in each of two rounds the best logit l that is left, and the
// softmax at it over those left for which (l - other) / max(|other|, l) is at most `width`. logits: [count], finite or
// -infinity; max is the largest of them, count at least 2. A second expert of logit -infinity has weight 0.
void sparse_mixer(const float* logits, float max, int32_t count, float width, int32_t* experts, float* weights);

}  // namespace moe
