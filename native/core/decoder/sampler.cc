#include "core/decoder/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/decoder/likeliest.h"
#include "core/decoder/mixed_bits.h"

namespace moe {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

struct Highest {
  float logit = kNever;
  size_t token = 0;  // the first that has it
  bool numbers = true;
};

// The highest of a few logits side by side, so that compilers make vectors of them; then the first stretch that has it
// is searched.
Highest highest_of(std::span<const float> logits) {
  constexpr size_t kStretch = 1024, kLanes = 16;
  Highest highest;
  size_t found = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kStretch) {
    const std::span<const float> stretch = logits.subspan(begin, std::min(kStretch, logits.size() - begin));
    float most[kLanes];
    uint32_t not_numbers[kLanes] = {};
    std::ranges::fill(most, kNever);
    const auto look_at = [&](size_t lane, float logit) {
      most[lane] = logit > most[lane] ? logit : most[lane];
      not_numbers[lane] |= logit != logit;
    };
    size_t i = 0;
    for (; i + kLanes <= stretch.size(); i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) look_at(lane, stretch[i + lane]);
    for (; i < stretch.size(); ++i) look_at(0, stretch[i]);
    if (std::ranges::count(not_numbers, 0u) < static_cast<std::ptrdiff_t>(kLanes)) highest.numbers = false;
    if (const float here = std::ranges::max(most); here > highest.logit) {
      highest.logit = here;
      found = begin;
    }
  }
  while (found < logits.size() && logits[found] != highest.logit) ++found;
  highest.token = found;
  return highest;
}

}  // namespace

double random_number(uint64_t seed, int32_t choice, int64_t position) {
  const uint64_t of_choice = mixed_bits(mixed_bits(seed) ^ static_cast<uint32_t>(choice));
  return static_cast<double>(mixed_bits(of_choice ^ static_cast<uint64_t>(position)) >> 11) * 0x1p-53;
}

Sampler::Sampler(SamplingOptions options, std::span<const int32_t> prompt) : options_(std::move(options)) {
  if (penalises())
    for (const int32_t token : prompt) seen_.try_emplace(token, 0);
}

void Sampler::accept(int32_t token) {
  ++sampled_;
  if (penalises()) ++seen_[token];
}

void Sampler::change(std::span<float> logits) const {
  for (size_t token = options_.vocabulary; token < logits.size(); ++token) logits[token] = kNever;
  if (sampled_ < options_.min_tokens)
    for (const int32_t token : options_.stop_tokens) logits[token] = kNever;
  for (const auto& [token, bias] : options_.bias) logits[token] += bias;
  for (const auto& [token, times] : seen_) {
    double logit = logits[token];
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    if (times > 0) logit -= options_.frequency_penalty * static_cast<double>(times) + options_.presence_penalty;
    logits[token] = static_cast<float>(logit);
  }
}

int32_t Sampler::sample(std::span<float> logits, int64_t position) const {
  change(logits);
  const auto [highest, likeliest, numbers] = highest_of(logits);
  if (!numbers || !std::isfinite(highest)) return -1;
  if (options_.temperature == 0) return static_cast<int32_t>(likeliest);

  const auto weight = [&](float logit) {
    return std::exp((static_cast<double>(logit) - highest) / options_.temperature);
  };
  // What is kept is all from some logit up.
  float floor = std::numeric_limits<float>::lowest();
  if (options_.min_p > 0) {
    floor = highest;
    for (const float logit : logits)
      if (logit < floor && weight(logit) >= options_.min_p) floor = logit;
  }
  Likeliest kept(logits, floor);
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < kept.size()) {
    floor = kept[options_.top_k - 1].logit;
    kept.keep_from(floor);
  }
  double mass = 0;
  for (const float logit : logits)
    if (logit >= floor) mass += weight(logit);
  size_t size = kept.size();
  if (options_.top_p < 1) {
    const double enough = options_.top_p * mass;
    mass = weight(kept[0].logit);
    for (size = 1; size < kept.size() && mass < enough; ++size) mass += weight(kept[size].logit);
  }
  const double target = random_number(options_.seed, options_.choice, position) * mass;
  double sum = 0;
  for (size_t n = 0; n + 1 < size; ++n) {
    sum += weight(kept[n].logit);
    if (sum > target) return kept[n].token;
  }
  return kept[size - 1].token;
}

}  // namespace moe
