#include "core/decoder/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "core/decoder/log_probabilities.h"

namespace moe::test {
namespace {

// The definitions, with everything sorted and nothing saved.
class Reference {
 public:
  Reference(SamplingOptions options, std::vector<int32_t> prompt)
      : options_(std::move(options)), prompt_(std::move(prompt)) {}

  void accept(int32_t token) { sampled_.push_back(token); }

  int32_t sample(std::vector<float> logits, int64_t position) const {
    for (int32_t token = 0; token < static_cast<int32_t>(logits.size()); ++token) change(logits[token], token);
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    std::erase_if(order, [&](int32_t token) { return logits[token] == kNever; });
    if (order.empty()) return -1;
    if (options_.temperature == 0) return order[0];
    const float highest = logits[order[0]];
    const auto weight = [&](int32_t token) {
      return std::exp((static_cast<double>(logits[token]) - highest) / options_.temperature);
    };
    std::erase_if(order, [&](int32_t token) { return weight(token) < options_.min_p; });
    if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(order.size())) {
      const float least = logits[order[options_.top_k - 1]];
      std::erase_if(order, [&](int32_t token) { return logits[token] < least; });
    }
    double mass = 0;
    std::vector<int32_t> by_id = order;
    std::ranges::sort(by_id);
    for (const int32_t token : by_id) mass += weight(token);
    if (options_.top_p < 1) {
      double sum = 0;
      size_t size = 0;
      while (size < order.size() && (size == 0 || sum < options_.top_p * mass)) sum += weight(order[size++]);
      order.resize(size);
      mass = sum;
    }
    const double target = random_number(options_.seed, options_.choice, position) * mass;
    double sum = 0;
    for (const int32_t token : order)
      if ((sum += weight(token)) > target) return token;
    return order.back();
  }

 private:
  static constexpr float kNever = -std::numeric_limits<float>::infinity();

  void change(float& logit, int32_t token) const {
    const bool stops = std::ranges::find(options_.stop_tokens, token) != options_.stop_tokens.end();
    if (token >= options_.vocabulary || (stops && static_cast<int64_t>(sampled_.size()) < options_.min_tokens))
      logit = kNever;
    for (const auto& [biased, bias] : options_.bias)
      if (biased == token) logit += bias;
    const auto times = std::ranges::count(sampled_, token);
    if (times == 0 && std::ranges::find(prompt_, token) == prompt_.end()) return;
    double value = logit;
    value = value > 0 ? value / options_.repetition_penalty : value * options_.repetition_penalty;
    if (times > 0) value -= options_.frequency_penalty * static_cast<double>(times) + options_.presence_penalty;
    logit = static_cast<float>(value);
  }

  SamplingOptions options_;
  std::vector<int32_t> prompt_, sampled_;
};

class Sampling : public testing::Test {
 protected:
  // Logits with many ties, as int8 weights give them.
  std::vector<float> logits(int32_t size) {
    std::normal_distribution<float> normal(0, 4);
    std::vector<float> values(size);
    for (float& value : values) value = std::round(normal(random) * 4) / 4;
    return values;
  }

  // Some steps of a text, each as the reference has it. Gives the tokens.
  std::vector<int32_t> expect_as_defined(SamplingOptions options, int32_t size = 300, int steps = 30) {
    if (options.vocabulary == 0) options.vocabulary = size;
    const std::vector<int32_t> prompt{3, 1, 4, 1, 5, size - 1};
    Sampler sampler(options, prompt);
    Reference reference(options, prompt);
    std::vector<int32_t> text;
    for (int step = 0; step < steps; ++step) {
      std::vector<float> values = logits(size);
      const int32_t expected = reference.sample(values, 6 + step);
      EXPECT_EQ(sampler.sample(values, 6 + step), expected);
      if (expected < 0) continue;
      text.push_back(expected);
      sampler.accept(expected);
      reference.accept(expected);
    }
    return text;
  }

  std::mt19937 random{1};
};

TEST_F(Sampling, EveryOptionAloneIsAsDefined) {
  expect_as_defined({});
  expect_as_defined({.temperature = 0});
  expect_as_defined({.temperature = 0.1});
  expect_as_defined({.temperature = 30});
  for (const int64_t top_k : {1, 2, 63, 64, 65, 299, 300, 1000}) expect_as_defined({.top_k = top_k});
  for (const double top_p : {0.0, 0.05, 0.5, 0.95, 0.999, 1.0}) expect_as_defined({.top_p = top_p});
  for (const double min_p : {0.001, 0.1, 1.0}) expect_as_defined({.min_p = min_p});
  expect_as_defined({.repetition_penalty = 1.5});
  expect_as_defined({.repetition_penalty = 0.5});
  expect_as_defined({.presence_penalty = 2});
  expect_as_defined({.frequency_penalty = 1.25});
  expect_as_defined({.bias = {{7, 30.0f}, {8, -100.0f}}});
  expect_as_defined({.stop_tokens = {1, 2, 250}, .min_tokens = 10});
  expect_as_defined({.vocabulary = 200});
}

TEST_F(Sampling, OptionsMixedAtRandomAreAsDefined) {
  const auto one_of = [&]<class T>(std::initializer_list<T> values) {
    return values.begin()[random() % values.size()];
  };
  for (int round = 0; round < 300; ++round) {
    SamplingOptions options;
    options.temperature = one_of({0.0, 0.5, 1.0, 2.0, 20.0});
    options.top_k = one_of({0, 0, 1, 5, 40, 100});
    options.top_p = one_of({1.0, 1.0, 0.3, 0.9});
    options.min_p = one_of({0.0, 0.0, 0.05});
    options.repetition_penalty = one_of({1.0, 1.0, 1.2});
    options.presence_penalty = one_of({0.0, 0.0, 1.0, -1.0});
    options.frequency_penalty = one_of({0.0, 0.0, 0.5});
    if (random() % 3 == 0) options.bias = {{static_cast<int32_t>(random() % 150), 5.0f}, {3, -3.0f}};
    options.stop_tokens = {9, 10};
    options.min_tokens = one_of({0, 3});
    options.vocabulary = one_of({150, 149, 20});
    options.seed = random();
    options.choice = static_cast<int32_t>(random() % 3);
    expect_as_defined(options, 150, 6);
  }
}

TEST_F(Sampling, TheLowerOfEquallyLikelyTokensComesFirst) {
  std::vector<float> values(100, 1.0f);
  EXPECT_EQ(Sampler({.temperature = 0, .vocabulary = 100}, {}).sample(values, 0), 0);
  values[0] = -5.0f;
  EXPECT_EQ(Sampler({.temperature = 0, .vocabulary = 100}, {}).sample(values, 0), 1);
  for (int64_t position = 0; position < 50; ++position)
    EXPECT_EQ(Sampler({.top_p = 1e-9, .vocabulary = 100}, {}).sample(values, position), 1);
}

TEST_F(Sampling, TheLikeliestIsFoundWhereverItStands) {
  const int32_t vocabulary = 2100;  // more than two stretches, and no multiple of anything
  const Sampler greedy({.temperature = 0, .vocabulary = vocabulary}, {});
  for (int32_t token = 0; token < vocabulary; token += 7) {
    std::vector<float> logits(vocabulary, -2.0f);
    logits[token] = -1.0f;
    logits[vocabulary - 1] = -1.0f;  // as likely, and later
    EXPECT_EQ(greedy.sample(logits, 0), token);
    logits[token] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(greedy.sample(logits, 0), -1);
  }
}

TEST_F(Sampling, TheOnlyTokenLeftIsTaken) {
  std::vector<float> values(4, 0.0f);
  EXPECT_EQ(Sampler({.vocabulary = 1}, {}).sample(values, 0), 0);
  std::vector<float> one(4, -std::numeric_limits<float>::infinity());
  one[2] = -1000.0f;
  EXPECT_EQ(Sampler({.vocabulary = 4}, {}).sample(one, 0), 2);
}

TEST_F(Sampling, WhatIsNoNumberOrLeavesNoTokenIsToldApart) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const double temperature : {0.0, 1.0}) {
    const Sampler sampler({.temperature = temperature, .stop_tokens = {0}, .min_tokens = 1, .vocabulary = 2}, {});
    const auto sample = [&](std::vector<float> values) { return sampler.sample(values, 0); };
    EXPECT_EQ(sample({1, 2, 3}), 1);
    EXPECT_EQ(sample({1, nan, 3}), -1);
    EXPECT_EQ(sample({1, infinity, 3}), -1);
    EXPECT_EQ(sample({1, -infinity, 3}), -1);
  }
}

TEST_F(Sampling, ANumberIsItsSeedsChoicesAndPositionsAlone) {
  EXPECT_EQ(random_number(1, 2, 3), random_number(1, 2, 3));
  std::set<double> numbers;
  double sum = 0;
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (int32_t choice = 0; choice < 5; ++choice)
      for (int64_t position = 0; position < 100; ++position) {
        const double number = random_number(seed, choice, position);
        ASSERT_TRUE(number >= 0 && number < 1);
        numbers.insert(number);
        sum += number;
      }
  EXPECT_EQ(numbers.size(), 10000u);
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
}

TEST_F(Sampling, TokensComeAsOftenAsTheyAreLikely) {
  const std::vector<float> values{0.0f, 1.0f, 2.0f, -1.0f};
  const Sampler sampler({.temperature = 2, .vocabulary = 4, .seed = 5}, {});
  std::map<int32_t, int> times;
  for (int64_t position = 0; position < 20000; ++position) {
    std::vector<float> copy = values;
    ++times[sampler.sample(copy, position)];
  }
  double total = 0;
  for (const float value : values) total += std::exp(value / 2);
  for (int32_t token = 0; token < 4; ++token)
    EXPECT_NEAR(times[token] / 20000.0, std::exp(values[token] / 2) / total, 0.01);
}

TEST_F(Sampling, TheLikeliestAreToldInOrder) {
  const std::vector<float> values{0.0f, 3.0f, 3.0f, 1.0f};
  std::vector<int32_t> tokens(6);
  std::vector<float> told(6);
  tell_likeliest(values, log_sum(values), tokens, told);
  EXPECT_EQ(tokens, (std::vector<int32_t>{1, 2, 3, 0, -1, -1}));
  double sum = 0;
  for (int i = 0; i < 4; ++i) sum += std::exp(told[i]);
  EXPECT_NEAR(sum, 1, 1e-6);
}

}  // namespace
}  // namespace moe::test
