#include "core/decoder/log_probabilities.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/decoder/likeliest.h"

namespace moe {

double log_sum(std::span<const float> logits) {
  const double highest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum);
}

void tell_likeliest(std::span<const float> logits, double log_of_sum, std::span<int32_t> tokens,
                    std::span<float> log_probabilities) {
  std::ranges::fill(tokens, -1);
  std::ranges::fill(log_probabilities, std::numeric_limits<float>::quiet_NaN());
  Likeliest likeliest(logits);
  for (size_t n = 0; n < std::min(tokens.size(), likeliest.size()); ++n) {
    tokens[n] = likeliest[n].token;
    log_probabilities[n] = static_cast<float>(likeliest[n].logit - log_of_sum);
  }
}

}  // namespace moe
