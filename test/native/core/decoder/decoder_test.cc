#include "core/decoder/decoder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "decoder_bits.h"
#include "fakes/host_decoder.h"

namespace moe::test {
namespace {

class EachModel : public testing::TestWithParam<TinyOptions> {
 protected:
  HostDecoder device;
};
INSTANTIATE_TEST_SUITE_P(Decoder, EachModel, testing::ValuesIn(tiny_models()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(EachModel, GivesTheSameInAnyPieces) { expect_same_in_any_pieces(device, GetParam()); }
TEST_P(EachModel, GivesTheSameInAnyCompany) { expect_same_in_any_company(device, GetParam()); }
TEST_P(EachModel, GivesTheSameBehindACachedBeginning) { expect_same_behind_hits(device, GetParam()); }
TEST_P(EachModel, IsAsBeforeWhenStopped) { expect_as_before_when_stopped(device, GetParam()); }
TEST_P(EachModel, ASequenceWithoutNumbersHarmsNoOther) { expect_no_harm_without_numbers(device, GetParam()); }

// Fails, or asks for a stop, at one of its stages.
class TroubledDevice final : public HostDecoder {
 public:
  void linear(const PreparedLinear& linear, Matrix in, Matrix added, Matrix out, const std::stop_token& stop) override {
    if (--left == 0) {
      if (!stops) throw Error(ErrorCode::kDevice, "The device has failed");
      source.request_stop();
    }
    HostDecoder::linear(linear, in, added, out, stop);
  }

  int left = 0;
  bool stops = false;
  std::stop_source source;
};

TEST_P(EachModel, IsAsBeforeAfterAStepThatFails) {
  TroubledDevice device;
  TinyOptions options = GetParam();
  TinyEngine untroubled(device, options), engine(device, options);
  const std::vector<int32_t> tokens = random_tokens(60, 9);
  SamplingOptions sampling;
  sampling.frequency_penalty = 0.5;
  const auto generate = [&](TinyEngine& on, bool troubled) {
    std::vector<int32_t> text;
    const int32_t sequence = on.admit(tokens, 12, sampling).sequence;
    int32_t left = 60, trouble = 0;
    while (text.size() < 12) {
      const int32_t count = std::min(left, 21);
      const Step step{{sequence}, {count}};
      if (troubled) {
        device.left = 1 + trouble++ % 6;
        device.stops = trouble % 2 == 0;
        device.source = {};
        EXPECT_THROW(on.run(step, {}, device.source.get_token()), Error);
        device.left = 0;
      }
      left -= count;
      const int32_t sampled = on.run(step)[0];
      EXPECT_EQ(sampled >= 0, left == 0);
      if (sampled >= 0) text.push_back(sampled), left = 1;
    }
    on.decoder->sequences().release(sequence);
    return text;
  };
  EXPECT_EQ(generate(engine, true), generate(untroubled, false));
  EXPECT_EQ(engine.decoder->sequences().usage().free, untroubled.decoder->sequences().usage().free);
  EXPECT_EQ(engine.decoder->expert_load(1), untroubled.decoder->expert_load(1));
}

// Queued steps may come to sequences that have ended meanwhile.
TEST_P(EachModel, LeavesOutSequencesThatWereReleasedOrHaveNothingLeft) {
  HostDecoder device;
  TinyEngine engine(device, GetParam()), alone(device, GetParam());
  const std::vector<int32_t> tokens = random_tokens(9, 4);
  const int32_t gone = engine.admit(random_tokens(5, 1), 3).sequence,
                done = engine.admit(random_tokens(6, 2), 0).sequence, going = engine.admit(tokens, 2).sequence;
  EXPECT_EQ(engine.run({{done}, {6}}), std::vector<int32_t>{-1});
  engine.decoder->sequences().release(gone);
  std::vector<float> logprobs(3, -7);
  StepOutput out;
  out.logprobs = logprobs.data();
  const std::vector<int32_t> sampled = engine.run({{gone, done, going}, {1, 1, 9}}, out);
  const int32_t sequence = alone.admit(tokens, 2).sequence;
  EXPECT_EQ(sampled, (std::vector<int32_t>{kLeftOut, kLeftOut, alone.run({{sequence}, {9}})[0]}));
  EXPECT_EQ(logprobs[0], -7);
  EXPECT_EQ(logprobs[1], -7);
  EXPECT_NE(logprobs[2], -7);
  EXPECT_EQ(engine.run({{gone, done}, {1, 1}}), (std::vector<int32_t>{kLeftOut, kLeftOut}));
  EXPECT_EQ(engine.run({{going}, {1}}), alone.run({{sequence}, {1}}));
}

// Asks for a stop behind one of its products, and counts those that it is asked for from then on.
class StoppedDevice final : public HostDecoder {
 public:
  void linear(const PreparedLinear& linear, Matrix in, Matrix added, Matrix out, const std::stop_token& stop) override {
    if (source.stop_requested()) ++later;
    HostDecoder::linear(linear, in, added, out, stop);
    if (++products == last) source.request_stop();
  }

  int products = 0, last = 0, later = 0;
  std::stop_source source;
};

TEST_P(EachModel, BeginsOneBlockOfWorkAtMostAfterAStop) {
  StoppedDevice device;
  TinyEngine engine(device, GetParam());
  const int32_t sequence = engine.admit(random_tokens(300, 3), 0).sequence;
  const auto is_stopped_behind = [&](int last) {
    device.products = device.later = 0;
    device.last = last;
    device.source = {};
    try {
      engine.run({{sequence}, {300}}, {}, device.source.get_token());
      return false;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kAborted);
      return true;
    }
  };
  int last = 1;
  while (is_stopped_behind(last)) {
    EXPECT_LE(device.later, 1) << "behind product " << last;
    ++last;
  }
  EXPECT_GT(last, 4);
}

class OneModel : public testing::Test {
 protected:
  HostDecoder device;
  TinyEngine engine{device, tiny_models()[0]};
};

TEST_F(OneModel, CountsTheTokensOfExperts) {
  engine.logits_in_pieces(random_tokens(40, 1), {40});
  const std::vector<double> load = engine.decoder->expert_load(1);
  EXPECT_EQ(load.size(), 6u);
  EXPECT_EQ(std::accumulate(load.begin(), load.end(), 0.0), 80.0);
  EXPECT_TRUE(engine.decoder->expert_load(0).empty());
  EXPECT_THROW(engine.decoder->expert_load(2), Error);
}

TEST_F(OneModel, TellsLogProbabilitiesOfLogitsAsTheyCame) {
  SamplingOptions sampling;
  sampling.logprobs = 3;
  sampling.temperature = 0.3;
  sampling.bias = {{5, 100.0f}};
  const std::vector<int32_t> tokens = random_tokens(10, 2);
  const int32_t sequence = engine.admit(tokens, 4, sampling).sequence;
  std::vector<float> logits(10 * TinyDecoder::kVocabulary), logprobs(1), top_logprobs(kMaxTopTokens), next(10);
  std::vector<int32_t> top_tokens(kMaxTopTokens);
  const StepOutput out{nullptr, logprobs.data(), top_tokens.data(), top_logprobs.data(), logits.data(), next.data()};
  EXPECT_EQ(engine.run({{sequence}, {10}}, out)[0], 5);
  const auto expected = [&](int64_t row, int32_t token) {
    double sum = 0;
    const float* const values = logits.data() + row * TinyDecoder::kVocabulary;
    for (int i = 0; i < TinyDecoder::kVocabulary; ++i) sum += std::exp(static_cast<double>(values[i]));
    return values[token] - std::log(sum);
  };
  EXPECT_NEAR(logprobs[0], expected(9, 5), 1e-5);
  for (int64_t row = 0; row < 9; ++row) EXPECT_NEAR(next[row], expected(row, tokens[row + 1]), 1e-5);
  EXPECT_TRUE(std::isnan(next[9]));
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(top_logprobs[i], expected(9, top_tokens[i]), 1e-5);
  EXPECT_GE(top_logprobs[0], top_logprobs[1]);
  EXPECT_GE(top_logprobs[1], top_logprobs[2]);
  EXPECT_EQ(top_tokens[3], -1);
  EXPECT_TRUE(std::isnan(top_logprobs[3]));
}

TEST_F(OneModel, WhatWasSampledIsPenalisedFromThenOn) {
  SamplingOptions sampling;
  sampling.temperature = 0;
  sampling.presence_penalty = 1000;
  const int32_t sequence = engine.admit({1, 2, 3}, TinyDecoder::kVocabulary, sampling).sequence;
  std::set<int32_t> text{engine.run({{sequence}, {3}})[0]};
  for (int i = 1; i < TinyDecoder::kVocabulary; ++i) text.insert(engine.run({{sequence}, {1}})[0]);
  EXPECT_EQ(text.size(), size_t{TinyDecoder::kVocabulary});
}

TEST_F(OneModel, AdmitsAndReleasesWhileAStepRuns) {
  TinyEngine alone(device, tiny_models()[0]);
  const std::vector<int32_t> tokens = random_tokens(100, 8);
  const std::vector<float> expected = alone.logits_in_pieces(tokens, {5});
  std::atomic<bool> ended = false;
  std::thread other([&] {
    for (uint32_t i = 0; !ended; ++i) {
      const int32_t sequence = engine.admit(random_tokens(1 + i % 60, i), 50).sequence;
      EXPECT_GE(engine.decoder->sequences().usage().free, 0);
      engine.decoder->expert_load(1);
      engine.decoder->sequences().release(sequence);
    }
  });
  EXPECT_EQ(engine.logits_in_pieces(tokens, {5}), expected);
  ended = true;
  other.join();
  EXPECT_EQ(engine.decoder->sequences().count(), 0);
}

// Does something in the middle of a step.
class InterruptedDevice final : public HostDecoder {
 public:
  void rms_norm(Matrix in, const float* weight, float epsilon, Matrix out) override {
    if (interrupt) interrupt();
    HostDecoder::rms_norm(in, weight, epsilon, out);
  }

  std::function<void()> interrupt;
};

TEST(Decoder, ReleasesASequenceWithTheStepThatRunsWithIt) {
  InterruptedDevice device;
  TinyEngine engine(device, tiny_models()[0]);
  Sequences& sequences = engine.decoder->sequences();
  const int32_t one = engine.admit(random_tokens(20, 1), 3).sequence,
                other = engine.admit(random_tokens(9, 2), 3).sequence;
  bool released = false;
  device.interrupt = [&] {
    if (std::exchange(released, true)) {
      EXPECT_THROW(sequences.release(one), Error);
      return;
    }
    sequences.release(one);
    EXPECT_EQ(sequences.count(), 2);
  };
  EXPECT_GE(engine.run({{one, other}, {20, 9}})[1], 0);
  EXPECT_EQ(sequences.count(), 1);
  device.interrupt = {};
  EXPECT_GE(engine.run({{other}, {1}})[0], 0);
  sequences.release(other);
  EXPECT_EQ(sequences.usage().free, sequences.usage().blocks);
}

TEST_F(OneModel, RefusesStepsThatAreNone) {
  const int32_t sequence = engine.admit({1, 2, 3}, 1).sequence;
  EXPECT_THROW(engine.run({{sequence}, {0}}), Error);
  EXPECT_THROW(engine.run({{sequence}, {4}}), Error);
  EXPECT_THROW(engine.run({{sequence, sequence}, {1, 1}}), Error);
  EXPECT_EQ(engine.run({{sequence + 1}, {1}})[0], kLeftOut);
  EXPECT_EQ(engine.run({}).size(), 0u);
  EXPECT_GE(engine.run({{sequence}, {3}})[0], 0);
  EXPECT_EQ(engine.run({{sequence}, {1}})[0], -1) << "there is room for one new token";
  EXPECT_EQ(engine.run({{sequence}, {1}})[0], kLeftOut) << "no known token is left";
  engine.decoder->sequences().release(sequence);
  EXPECT_THROW(engine.decoder->sequences().release(sequence), Error);
  EXPECT_EQ(engine.run({{sequence}, {1}})[0], kLeftOut);
}

TEST_F(OneModel, SaysWhatCanNeverFit) {
  const auto message = [&](int64_t prompt, int64_t new_tokens) {
    try {
      engine.admit(std::vector<int32_t>(prompt, 1), new_tokens);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kShape);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(300, 101), "Expected prompt and new tokens to fit the context of 400 tokens, got 300 + 101");
  EXPECT_EQ(message(300, 100), "");
  TinyOptions options = tiny_models()[0];
  options.kv_tokens = 64;
  TinyEngine small(device, options);
  EXPECT_THROW(small.admit(std::vector<int32_t>(50, 1), 15), Error);
  EXPECT_NO_THROW(small.admit(std::vector<int32_t>(50, 1), 14));
}

TEST_F(OneModel, IsLoadedInOrderAndWhole) {
  TinyDecoder model(tiny_models()[0]);
  Decoder decoder(device, model.spec());
  EXPECT_THROW(decoder.sequences(), Error);
  EXPECT_THROW(decoder.finish({}), Error);
  DecoderLayerWeights weights = model.layer_weights(0);
  weights.attention.key = {};
  const auto add = [&](const DecoderLayerWeights& of) {
    decoder.add_layer(model.layer_spec(0), of, [](int64_t, int64_t) {}, {});
  };
  EXPECT_THROW(add(weights), Error);
  for (int layer = 0; layer < 2; ++layer) add(model.layer_weights(0));
  EXPECT_THROW(add(model.layer_weights(0)), Error);
  EXPECT_THROW(decoder.finish({}), Error);
}

TEST(Decoder, NeedsADeviceWithItsStages) {
  HostDevice device;
  try {
    Decoder(device, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
  }
}

}  // namespace
}  // namespace moe::test
