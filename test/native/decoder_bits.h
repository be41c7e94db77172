// What a decoder gives does not depend on how its work came: tests for any device that has the stages.
#pragma once
#include <algorithm>
#include <chrono>
#include <limits>
#include <stop_token>
#include <thread>

#include "tiny_decoder.h"

namespace moe::test {

inline void expect_same_in_any_pieces(Device& device, TinyOptions options) {
  options.prefix_cache = false;
  TinyEngine engine(device, options);
  const std::vector<int32_t> tokens = random_tokens(83, 1);
  const std::vector<float> whole = engine.logits_in_pieces(tokens, {83});
  for (const float logit : whole) ASSERT_TRUE(std::isfinite(logit));
  EXPECT_NE(std::vector(whole.begin(), whole.begin() + 61), std::vector(whole.end() - 61, whole.end()));
  EXPECT_EQ(engine.logits_in_pieces(tokens, {1}), whole);
  EXPECT_EQ(engine.logits_in_pieces(tokens, {7, 30, 16, 1, 15, 2}), whole);
  EXPECT_EQ(engine.logits_in_pieces(tokens, {64, 16, 3}), whole);
}

// Several sequences, fed at random, each as if it were alone.
inline void expect_same_in_any_company(Device& device, const TinyOptions& options) {
  std::vector<std::vector<int32_t>> prompts, texts;
  SamplingOptions sampling;
  sampling.top_k = 20;
  sampling.repetition_penalty = 1.1;
  constexpr int64_t kNew = 20;
  for (uint32_t i = 0; i < 5; ++i) prompts.push_back(random_tokens(11 + 17 * i, i));
  TinyEngine alone(device, options);
  for (uint32_t i = 0; i < prompts.size(); ++i) {
    sampling.seed = i;
    const Admission admission = alone.admit(prompts[i], kNew, sampling);
    std::vector<int32_t>& text = texts.emplace_back();
    text.push_back(alone.run({{admission.sequence}, {static_cast<int32_t>(prompts[i].size())}})[0]);
    while (static_cast<int64_t>(text.size()) < kNew) text.push_back(alone.run({{admission.sequence}, {1}})[0]);
    alone.decoder->sequences().release(admission.sequence);
  }

  TinyEngine together(device, options);
  std::mt19937 random(3);
  struct Running {
    int32_t sequence, left;
    std::vector<int32_t> text;
  };
  std::vector<Running> running;
  for (uint32_t i = 0; i < prompts.size(); ++i) {
    sampling.seed = i;
    running.push_back(
        {together.admit(prompts[i], kNew, sampling).sequence, static_cast<int32_t>(prompts[i].size()), {}});
  }
  const auto ended = [&](const Running& each) { return static_cast<int64_t>(each.text.size()) == kNew; };
  while (!std::ranges::all_of(running, ended)) {
    Step step;
    std::vector<Running*> taken;
    for (Running& each : running) {
      if (ended(each) || random() % 3 == 0) continue;
      step.sequences.push_back(each.sequence);
      step.counts.push_back(1 + static_cast<int32_t>(random() % each.left));
      each.left -= step.counts.back();
      taken.push_back(&each);
    }
    const std::vector<int32_t> sampled = together.run(step);
    for (size_t i = 0; i < taken.size(); ++i) {
      ASSERT_EQ(sampled[i] >= 0, taken[i]->left == 0);
      if (sampled[i] < 0) continue;
      taken[i]->text.push_back(sampled[i]);
      taken[i]->left = 1;
    }
  }
  for (size_t i = 0; i < running.size(); ++i) EXPECT_EQ(running[i].text, texts[i]);
}

// A beginning that is in the cache already gives the same bits behind it.
inline void expect_same_behind_hits(Device& device, const TinyOptions& options) {
  TinyEngine engine(device, options);
  const std::vector<int32_t> tokens = random_tokens(96, 4);
  const std::vector<float> whole = engine.logits_in_pieces(tokens, {50});
  const auto tail = [&](int64_t rows) {
    return std::vector(whole.end() - rows * TinyDecoder::kVocabulary, whole.end());
  };
  EXPECT_EQ(engine.logits_in_pieces(tokens, {3}), tail(16));
  std::vector<int32_t> other = tokens;
  other[70] = (other[70] + 1) % TinyDecoder::kVocabulary;
  TinyEngine fresh(device, options);
  const std::vector<float> expected = fresh.logits_in_pieces(other, {96});
  const std::vector<float> found = engine.logits_in_pieces(other, {96});
  EXPECT_EQ(found.size(), size_t{32 * TinyDecoder::kVocabulary});
  EXPECT_EQ(found, std::vector(expected.end() - static_cast<ptrdiff_t>(found.size()), expected.end()));
}

// Steps that are stopped at any moment leave nothing behind, however many tokens the next one feeds.
inline void expect_as_before_when_stopped(Device& device, const TinyOptions& options) {
  const std::vector<int32_t> tokens = random_tokens(300, 12);
  TinyEngine untroubled(device, options), engine(device, options);
  const std::vector<float> expected = untroubled.logits_in_pieces(tokens, {300});
  const int32_t sequence = engine.admit(tokens, 0).sequence;
  std::mt19937 random(11);
  std::vector<float> all;
  int stopped = 0;
  for (int32_t left = 300; left > 0;) {
    for (int attempt = 0; attempt < 10; ++attempt) {
      std::stop_source source;
      const std::jthread stops([&, wait = std::chrono::microseconds(random() % 200)] {
        std::this_thread::sleep_for(wait);
        source.request_stop();
      });
      try {
        const auto count = static_cast<int32_t>(1 + random() % std::min(left, 120));
        const std::vector<float> some = engine.logits({{sequence}, {count}}, source.get_token());
        all.insert(all.end(), some.begin(), some.end());
        left -= count;
        break;
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), ErrorCode::kAborted);
        ++stopped;
      }
    }
    if (left == 0) break;
    const auto count = static_cast<int32_t>(1 + random() % std::min(left, 4));
    const std::vector<float> some = engine.logits({{sequence}, {count}});
    all.insert(all.end(), some.begin(), some.end());
    left -= count;
  }
  EXPECT_EQ(all, expected);
  testing::Test::RecordProperty("stopped", stopped);
}

inline void expect_no_harm_without_numbers(Device& device, const TinyOptions& options) {
  TinyEngine engine(device, options);
  const std::vector<int32_t> good{1, 2, 3}, bad{1, 2, 7};
  SamplingOptions greedy;
  greedy.temperature = 0;
  const int32_t before = engine.admit(good, 2, greedy).sequence;
  const int32_t expected = engine.run({{before}, {3}})[0];
  std::fill_n(engine.model.embedding(7), TinyDecoder::kHidden, std::numeric_limits<float>::quiet_NaN());
  const int32_t first = engine.admit(bad, 2, greedy).sequence, second = engine.admit(good, 2, greedy).sequence;
  const Step step{{first, second}, {3, 3}};
  EXPECT_EQ(engine.run(step), (std::vector<int32_t>{kNoNumbers, expected}));
  EXPECT_THROW(engine.run(step), Error) << "the second has one token left";
  EXPECT_EQ(engine.run({{first, second}, {3, 1}})[0], kNoNumbers) << "the first is as it was";
}

}  // namespace moe::test
