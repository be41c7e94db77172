// Attention over a cache against plain float64, and its bits however a sequence is cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "core/error.h"
#include "core/weights/float16.h"
#include "cpu/run_stages.h"

namespace moe::test {
namespace {

struct Shape {
  int32_t heads, kv_heads, key_size, value_size;
  bool latent = false;
  int64_t window = 0;
  bool sinks = false;
  KvType type = KvType::kFloat32;
};

// Rows of one sequence: queries, keys and values of all its tokens.
struct Sequence {
  int64_t tokens;
  std::vector<float> queries, keys, values;
};

float held(float value, KvType type, float largest) {
  if (type == KvType::kFloat32) return value;
  if (type == KvType::kBFloat16) return from_bfloat16(to_bfloat16(value));
  const float scale = largest / 127;
  return scale > 0 ? std::nearbyintf(value / scale) * scale : 0.0f;
}

// A row's numbers as the cache holds them, `size` of which share a scale.
std::vector<float> all_held(const std::vector<float>& values, int64_t size, KvType type) {
  std::vector<float> result(values.size());
  for (size_t at = 0; at < values.size(); at += size) {
    float largest = 0;
    for (int64_t i = 0; i < size; ++i) largest = std::max(largest, std::fabs(values[at + i]));
    for (int64_t i = 0; i < size; ++i) result[at + i] = held(values[at + i], type, largest);
  }
  return result;
}

double largest_apart(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double apart = std::fabs(a[i] - b[i]);
    largest = !(apart <= largest) ? apart : largest;
  }
  return largest;
}

class AttentionTest : public EachInstructionSet {
 protected:
  static constexpr int64_t kBlocks = 256;

  explicit AttentionTest(int threads = 2) : device_(kernels(), threads), stages_(*device_.decoder()) {}

  std::vector<float> randoms(int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = normal(random_);
    return values;
  }
  Sequence sequence(const Shape& shape, int64_t tokens) {
    return {tokens, randoms(tokens * shape.heads * shape.key_size), randoms(tokens * shape.kv_heads * shape.key_size),
            shape.latent ? std::vector<float>{} : randoms(tokens * shape.kv_heads * shape.value_size)};
  }
  AttentionSpec spec_of(const Shape& shape) {
    return {.heads = shape.heads,
            .kv_heads = shape.kv_heads,
            .key_size = shape.key_size,
            .value_size = shape.value_size,
            .values_in_keys = shape.latent,
            .scale = 1 / std::sqrt(static_cast<float>(shape.key_size)),
            .window = shape.window,
            .sinks = shape.sinks ? sinks_.data() : nullptr,
            .type = shape.type};
  }

  // Runs sequences in steps: cuts[i] are how many tokens sequence i feeds in each. Outputs are [tokens, heads * value].
  std::vector<std::vector<float>> run(const Shape& shape, const std::vector<Sequence>& sequences,
                                      const std::vector<std::vector<int64_t>>& cuts, cpu::CpuDevice& device) {
    DecoderStages& stages = *device.decoder();
    const AttentionSpec spec = spec_of(shape);
    const std::unique_ptr<KvCache> cache = stages.make_cache(spec, kBlocks);
    std::vector<int32_t> free(kBlocks);
    std::iota(free.begin(), free.end(), 0);
    std::shuffle(free.begin(), free.end(), random_);
    std::vector<std::vector<int32_t>> tables(sequences.size());
    std::vector<std::vector<float>> outputs(sequences.size());
    std::vector<int64_t> done(sequences.size(), 0);
    size_t steps = 0;
    for (const auto& cut : cuts) steps = std::max(steps, cut.size());
    for (size_t step = 0; step < steps; ++step) {
      std::vector<Segment> segments;
      std::vector<size_t> whose;
      std::vector<float> queries, keys, values;
      int64_t rows = 0;
      for (size_t i = 0; i < sequences.size(); ++i) {
        if (step >= cuts[i].size() || cuts[i][step] == 0) continue;
        const int64_t count = cuts[i][step];
        while (static_cast<int64_t>(tables[i].size()) * kKvBlock < done[i] + count) {
          tables[i].push_back(free.back());
          free.pop_back();
        }
        if (shape.window > 0)  // what the window has passed is given back
          for (int64_t block = 0; (block + 1) * kKvBlock <= done[i] + 1 - shape.window; ++block) tables[i][block] = -1;
        const auto take = [&](const std::vector<float>& from, int64_t width, std::vector<float>& to) {
          to.insert(to.end(), from.begin() + done[i] * width, from.begin() + (done[i] + count) * width);
        };
        take(sequences[i].queries, shape.heads * shape.key_size, queries);
        take(sequences[i].keys, shape.kv_heads * shape.key_size, keys);
        if (!shape.latent) take(sequences[i].values, shape.kv_heads * shape.value_size, values);
        segments.push_back({rows, count, done[i], tables[i].data()});
        whose.push_back(i);
        rows += count;
        done[i] += count;
      }
      std::vector<float> out(rows * shape.heads * shape.value_size, std::nanf(""));
      stages.append(*cache, spec, float_matrix(keys.data(), rows, shape.kv_heads * shape.key_size),
                    float_matrix(values.data(), rows, shape.kv_heads * shape.value_size), segments);
      stages.attend(*cache, spec, float_matrix(queries.data(), rows, shape.heads * shape.key_size), segments,
                    float_matrix(out.data(), rows, shape.heads * shape.value_size), {});
      for (size_t s = 0; s < segments.size(); ++s) {
        const int64_t width = shape.heads * shape.value_size;
        outputs[whose[s]].insert(outputs[whose[s]].end(), out.begin() + segments[s].first_row * width,
                                 out.begin() + (segments[s].first_row + segments[s].rows) * width);
      }
    }
    return outputs;
  }

  // With keys and values as a cache of `type` holds them.
  std::vector<double> reference(const Shape& shape, const Sequence& sequence, KvType type) {
    const AttentionSpec spec = spec_of(shape);
    const std::vector<float> keys = all_held(sequence.keys, shape.key_size, type);
    const std::vector<float> values = shape.latent ? keys : all_held(sequence.values, shape.value_size, type);
    const int64_t value_stride = shape.latent ? shape.key_size : shape.value_size;
    std::vector<double> out;
    for (int64_t t = 0; t < sequence.tokens; ++t) {
      for (int32_t head = 0; head < shape.heads; ++head) {
        const int32_t kv = head / (shape.heads / shape.kv_heads);
        const int64_t first = shape.window > 0 ? std::max<int64_t>(0, t + 1 - shape.window) : 0;
        double total = spec.sinks ? std::exp(static_cast<double>(spec.sinks[head])) : 0;
        std::vector<double> mixed(shape.value_size, 0.0);
        for (int64_t key = first; key <= t; ++key) {
          double score = 0;
          for (int32_t d = 0; d < shape.key_size; ++d)
            score += static_cast<double>(sequence.queries[(t * shape.heads + head) * shape.key_size + d]) *
                     keys[(key * shape.kv_heads + kv) * shape.key_size + d];
          const double e = std::exp(score * spec.scale);
          total += e;
          for (int32_t d = 0; d < shape.value_size; ++d)
            mixed[d] += e * values[(key * shape.kv_heads + kv) * value_stride + d];
        }
        for (const double each : mixed) out.push_back(each / total);
      }
    }
    return out;
  }

  void expect_reference(const Shape& shape, std::vector<int64_t> lengths) {
    std::vector<Sequence> sequences;
    std::vector<std::vector<int64_t>> cuts;
    for (const int64_t tokens : lengths) {
      sequences.push_back(sequence(shape, tokens));
      cuts.push_back({tokens});
    }
    const auto outputs = run(shape, sequences, cuts, device_);
    // Products of bytes have 16 bits of queries and of what a softmax gives keys.
    const double tolerance = shape.type == KvType::kInt8 ? 1e-4 : 3e-6;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const std::vector<double> expected = reference(shape, sequences[i], shape.type);
      ASSERT_EQ(outputs[i].size(), expected.size());
      const double error = largest_apart({outputs[i].begin(), outputs[i].end()}, expected);
      const double size = largest_apart(expected, std::vector<double>(expected.size(), 0.0));
      EXPECT_FALSE(!(error <= tolerance * size))
          << error / size << " of " << lengths[i] << " tokens, heads " << shape.heads << "/" << shape.kv_heads
          << " key " << shape.key_size << " window " << shape.window << " type " << static_cast<int>(shape.type);
    }
  }

  // Random pieces of `tokens`, some steps without any.
  std::vector<int64_t> cut(int64_t tokens) {
    std::vector<int64_t> pieces;
    while (tokens > 0) {
      const int64_t piece = std::min<int64_t>(tokens, std::uniform_int_distribution<int64_t>(0, 40)(random_));
      pieces.push_back(piece);
      tokens -= piece;
    }
    return pieces;
  }

  void expect_same_bits(const Shape& shape) {
    std::vector<Sequence> sequences;
    std::vector<std::vector<float>> alone;
    for (const int64_t tokens : {1, 17, 64, 130, 270}) {
      sequences.push_back(sequence(shape, tokens));
      alone.push_back(run(shape, {sequences.back()}, {{tokens}}, device_).front());
    }
    for (int threads = 1; threads <= 4; ++threads) {
      cpu::CpuDevice device(kernels(), threads);
      std::vector<std::vector<int64_t>> cuts;
      for (const Sequence& each : sequences)
        cuts.push_back(threads == 2 ? std::vector<int64_t>(each.tokens, 1) : cut(each.tokens));
      EXPECT_EQ(run(shape, sequences, cuts, device), alone) << threads << " threads";
    }
  }

  std::mt19937 random_{7};
  std::vector<float> sinks_ = randoms(64);
  cpu::CpuDevice device_;
  DecoderStages& stages_;
};
INSTANTIATE_TEST_SUITE_P(Cpu, AttentionTest, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

constexpr KvType kTypes[] = {KvType::kFloat32, KvType::kBFloat16, KvType::kInt8};

TEST_P(AttentionTest, MatchesTheReferenceOnEveryLength) {
  for (const KvType type : kTypes)
    expect_reference({4, 2, 32, 32, false, 0, false, type}, {1, 2, 15, 16, 17, 63, 64, 65, 200});
}

TEST_P(AttentionTest, MatchesTheReferenceOnSizesThatAreMultiplesOfNothing) {
  for (const KvType type : kTypes)
    for (const auto& [key, value] : {std::pair{1, 1}, {20, 24}, {24, 10}, {80, 80}, {7, 130}})
      for (const auto& [heads, kv_heads] : {std::pair{1, 1}, {3, 1}, {8, 1}, {6, 2}, {10, 2}, {40, 1}})
        expect_reference({heads, kv_heads, key, value, false, 0, false, type}, {70, 3});
}

TEST_P(AttentionTest, MatchesTheReferenceBehindWindowsAndSinks) {
  for (const KvType type : kTypes)
    for (const int64_t window : {1, 3, 16, 21, 64, 100})
      expect_reference({8, 2, 16, 16, false, window, window % 2 == 1, type}, {1, 50, 150});
  expect_reference({8, 2, 16, 16, false, 0, true}, {1, 150});
  expect_reference({4, 1, 16, 16, false, 300, true, KvType::kBFloat16}, {620});
}

TEST_P(AttentionTest, ReadsValuesOutOfKeys) {
  for (const KvType type : kTypes) {
    expect_reference({16, 1, 40, 32, true, 0, false, type}, {1, 100});
    expect_reference({5, 1, 23, 9, true, 0, false, type}, {80});
    expect_reference({128, 1, 48, 40, true, 0, false, type}, {20});
  }
}

TEST_P(AttentionTest, GivesTheSameBitsHoweverASequenceIsCut) {
  for (const KvType type : kTypes) expect_same_bits({6, 2, 20, 24, false, 37, true, type});
  expect_same_bits({4, 4, 20, 20});
  expect_same_bits({8, 1, 32, 24, false, 0, true, KvType::kBFloat16});
  expect_same_bits({16, 1, 40, 32, true, 0, false, KvType::kInt8});
}

TEST_P(AttentionTest, GivesTheSameBitsWhereThreadsShareALongSequence) {
  for (const KvType type : kTypes) {
    for (const bool latent : {false, true}) {
      const Shape shape{2, 1, 20, 16, latent, 0, true, type};
      const std::vector<Sequence> sequences{sequence(shape, 1200), sequence(shape, 30)};
      const auto whole = run(shape, sequences, {{1200}, {30}}, device_);
      for (int threads = 1; threads <= 4; ++threads) {
        cpu::CpuDevice device(kernels(), threads);
        EXPECT_EQ(run(shape, sequences, {{1195, 1, 3, 1}, {28, 0, 1, 1}}, device), whole) << threads << " threads";
      }
    }
  }
}

TEST_P(AttentionTest, AddsFarLessThanTheRoundingOfItsCache) {
  for (const KvType type : {KvType::kBFloat16, KvType::kInt8}) {
    for (const float sharpness : {0.2f, 1.0f, 6.0f}) {
      const Shape shape{8, 1, 128, 128, false, 0, false, type};
      Sequence one = sequence(shape, 300);
      for (float& each : one.queries) each *= sharpness;
      const std::vector<float> output = run(shape, {one}, {{300}}, device_).front();
      const std::vector<double> held = reference(shape, one, type);
      const double rounding = largest_apart(held, reference(shape, one, KvType::kFloat32));
      const double error = largest_apart({output.begin(), output.end()}, held);
      EXPECT_FALSE(!(error <= rounding / 100)) << rounding / error << " times, sharpness " << sharpness;
    }
  }
}

TEST_P(AttentionTest, KeepsAQueryThatIsNotFiniteInItsHead) {
  for (const KvType type : kTypes) {
    const Shape shape{4, 2, 16, 16, false, 0, false, type};
    std::vector<Sequence> sequences{sequence(shape, 70)};
    const auto clean = run(shape, sequences, {{70}}, device_);
    for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      sequences[0].queries[(33 * 4 + 1) * 16 + 5] = bad;
      const auto spoilt = run(shape, sequences, {{70}}, device_);
      for (size_t i = 0; i < clean[0].size(); ++i) {
        if (i / 16 == 33 * 4 + 1) {
          EXPECT_TRUE(std::isnan(spoilt[0][i])) << i;
        } else {
          EXPECT_EQ(spoilt[0][i], clean[0][i]) << i;
        }
      }
    }
  }
}

TEST_P(AttentionTest, KeepsWhatIsNotFiniteInItsTokens) {
  for (const KvType type : kTypes) {
    for (const int64_t bad : {50, 51}) {  // the first and the last of those that share words
      const Shape shape{4, 2, 16, 16, false, 0, false, type};
      std::vector<Sequence> sequences{sequence(shape, 90), sequence(shape, 90)};
      const auto clean = run(shape, sequences, {{90}, {90}}, device_);
      sequences[0].keys[bad * 2 * 16] = std::numeric_limits<float>::infinity();
      sequences[0].values[bad * 2 * 16 + 3] = std::nanf("");
      // All at once, one after the other, and few at a time, of which one is bad.
      for (const auto& cuts : {std::vector<int64_t>{90}, std::vector<int64_t>(90, 1), {48, 4, 38}}) {
        const auto outputs = run(shape, sequences, {cuts, {90}}, device_);
        EXPECT_EQ(outputs[1], clean[1]);
        const int64_t width = 4 * 16;
        EXPECT_TRUE(std::equal(outputs[0].begin(), outputs[0].begin() + bad * width, clean[0].begin()));
        EXPECT_TRUE(std::isnan(outputs[0][bad * width + 3]));
        EXPECT_TRUE(std::isnan(outputs[0][89 * width + 3]));
      }
    }
  }
}

TEST_P(AttentionTest, StopsWhenAsked) {
  const Shape shape{2, 1, 16, 16};
  const AttentionSpec spec = spec_of(shape);
  Sequence one = sequence(shape, 1);
  const std::unique_ptr<KvCache> cache = stages_.make_cache(spec, 1);
  const int32_t block = 0;
  const Segment segment{0, 1, 0, &block};
  std::vector<float> out(32);
  std::stop_source stop;
  stop.request_stop();
  stages_.append(*cache, spec, float_matrix(one.keys.data(), 1, 16), float_matrix(one.values.data(), 1, 16),
                 {&segment, 1});
  try {
    stages_.attend(*cache, spec, float_matrix(one.queries.data(), 1, 32), {&segment, 1},
                   float_matrix(out.data(), 1, 32), stop.get_token());
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kAborted);
  }
}

}  // namespace
}  // namespace moe::test
