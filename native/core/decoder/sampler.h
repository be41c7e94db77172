// How a sequence's next token is chosen from logits, always in the same way: by the tokens before it, the seed, the
// number of the choice and the position alone.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace moe {

// The options act in this order: vocabulary and stop tokens, bias, penalties, temperature, min_p, top_k, top_p.
struct SamplingOptions {
  double temperature = 1;         // 0: the likeliest
  int64_t top_k = 0;              // 0: all; tokens as likely as the last of them stay, too
  double top_p = 1;               // the fewest likeliest tokens that together have this probability
  double min_p = 0;               // of the likeliest token's probability
  double repetition_penalty = 1;  // of all tokens so far
  double presence_penalty = 0;    // of sampled ones
  double frequency_penalty = 0;   // of sampled ones, for each time
  std::vector<std::pair<int32_t, float>> bias{};
  std::vector<int32_t> stop_tokens{};
  int64_t min_tokens = 0;  // before so many were sampled, no stop token is
  int32_t vocabulary = 0;  // tokens from here on are never chosen
  uint64_t seed = 0;
  int32_t choice = 0;
  int32_t logprobs = -1;  // likeliest tokens to tell of; -1: no log-probabilities at all
};

// In [0, 1), of a seed, a choice and a position.
double random_number(uint64_t seed, int32_t choice, int64_t position);

class Sampler {
 public:
  // `prompt` is the tokens before the first that is sampled.
  Sampler(SamplingOptions options, std::span<const int32_t> prompt);

  // The token at `position` of its sequence, from logits [V], which are changed. -1 where they are no numbers, or give
  // no token a chance.
  int32_t sample(std::span<float> logits, int64_t position) const;
  // The token is a part of the sequence from now on.
  void accept(int32_t token);

  const SamplingOptions& options() const { return options_; }

 private:
  bool penalises() const {
    return options_.repetition_penalty != 1 || options_.presence_penalty != 0 || options_.frequency_penalty != 0;
  }
  void change(std::span<float> logits) const;

  SamplingOptions options_;
  int64_t sampled_ = 0;
  std::unordered_map<int32_t, int64_t> seen_;  // times each token so far was sampled, where penalties ask for it
};

}  // namespace moe
