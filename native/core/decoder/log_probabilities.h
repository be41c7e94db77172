// Natural log-probabilities of logits as they came, before all that sampling does to them.
#pragma once
#include <cstdint>
#include <span>

namespace moe {

// Tokens whose log-probabilities a step can tell.
constexpr int64_t kMaxTopTokens = 20;

// log(sum(exp(logits))), added in float64 in the order of tokens.
double log_sum(std::span<const float> logits);

// The likeliest tokens and their log-probabilities, as many as `tokens` has room for; -1 and NaN behind them.
void tell_likeliest(std::span<const float> logits, double log_of_sum, std::span<int32_t> tokens,
                    std::span<float> log_probabilities);

}  // namespace moe
