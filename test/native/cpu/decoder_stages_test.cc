// Norms, heads and projections per head against plain float64.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "cpu/run_stages.h"
#include "layer_reference.h"

namespace moe::test {
namespace {

class DecoderStagesTest : public EachInstructionSet {
 protected:
  std::vector<float> randoms(int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = normal(random_);
    return values;
  }
  static void expect_near(const std::vector<float>& got, const std::vector<double>& expected, double tolerance) {
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_FALSE(!(std::fabs(got[i] - expected[i]) <= tolerance * (1 + std::fabs(expected[i])))) << "at " << i;
  }

  std::mt19937 random_{5};
  cpu::CpuDevice device_{kernels(), 2};
  DecoderStages& stages_ = *device_.decoder();
};
INSTANTIATE_TEST_SUITE_P(Cpu, DecoderStagesTest, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

TEST_P(DecoderStagesTest, NormsRows) {
  for (const int64_t width : {1, 3, 16, 17, 130}) {
    for (const int64_t rows : {0, 1, 5}) {
      std::vector<float> in = randoms(rows * width), weight = randoms(width);
      std::vector<double> expected;
      for (int64_t row = 0; row < rows; ++row) {
        double squares = 0;
        for (int64_t i = 0; i < width; ++i) squares += static_cast<double>(in[row * width + i]) * in[row * width + i];
        for (int64_t i = 0; i < width; ++i)
          expected.push_back(in[row * width + i] / std::sqrt(squares / width + 1e-5) * weight[i]);
      }
      const Matrix matrix = float_matrix(in.data(), rows, width);
      std::vector<float> out(in.size());
      stages_.rms_norm(matrix, weight.data(), 1e-5f, float_matrix(out.data(), rows, width));
      expect_near(out, expected, 1e-6);
      stages_.rms_norm(matrix, weight.data(), 1e-5f, matrix);
      EXPECT_EQ(in, out);
    }
  }
}

TEST_P(DecoderStagesTest, AddsWhatIsScaled) {
  std::vector<float> in = randoms(3 * 17), into = randoms(3 * 17);
  const std::vector<float> before = into;
  const Matrix from = float_matrix(in.data(), 3, 17), to = float_matrix(into.data(), 3, 17);
  stages_.add_scaled(from, 0.5f, false, to);
  for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(into[i], before[i] + 0.5f * in[i]);
  stages_.add_scaled(from, 3.0f, true, to);
  for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(into[i], 3.0f * in[i]);
}

TEST_P(DecoderStagesTest, ShapesHeads) {
  for (const HeadsSpec::Norm norm : {HeadsSpec::kNone, HeadsSpec::kEachHead, HeadsSpec::kWholeRow}) {
    for (const bool interleaved : {false, true}) {
      HeadsSpec spec{.heads = 3, .size = 22};
      const int64_t width = 66;
      const std::vector<float> bias = randoms(width), weight = randoms(width);
      spec.bias = bias.data();
      spec.norm = norm;
      spec.normed = norm == HeadsSpec::kEachHead ? 13 : 0;
      spec.norm_weight = weight.data();
      spec.norm_epsilon = 1e-6f;
      spec.clip = 1.5f;
      spec.rotated = 8;
      spec.first_rotated = 14;
      spec.interleaved = interleaved;
      std::vector<float> rows = randoms(4 * width), turns = randoms(4 * 8);
      std::vector<double> expected;
      for (int64_t token = 0; token < 4; ++token) {
        std::vector<double> row(width);
        for (int64_t i = 0; i < width; ++i) row[i] = static_cast<double>(rows[token * width + i]) + bias[i];
        const int64_t step = norm == HeadsSpec::kWholeRow ? width : 22, normed = norm == HeadsSpec::kWholeRow ? 66 : 13;
        for (int64_t at = 0; norm != HeadsSpec::kNone && at < width; at += step) {
          double squares = 0;
          for (int64_t i = 0; i < normed; ++i) squares += row[at + i] * row[at + i];
          for (int64_t i = 0; i < normed; ++i) row[at + i] *= weight[i] / std::sqrt(squares / normed + 1e-6);
        }
        for (double& each : row) each = std::min(1.5, std::max(-1.5, each));
        for (int32_t head = 0; head < 3; ++head) {
          double* const from = row.data() + head * 22 + 14;
          for (int32_t i = 0; i < 4; ++i) {
            double &a = from[interleaved ? 2 * i : i], &b = from[interleaved ? 2 * i + 1 : i + 4];
            const double c = turns[token * 8 + i], s = turns[token * 8 + 4 + i], x = a, y = b;
            a = x * c - y * s;
            b = y * c + x * s;
          }
        }
        expected.insert(expected.end(), row.begin(), row.end());
      }
      stages_.shape_heads(spec, float_matrix(turns.data(), 4, 8), float_matrix(rows.data(), 4, width));
      expect_near(rows, expected, 2e-6);
    }
  }
}

TEST_P(DecoderStagesTest, MultipliesEachHeadByItsMatrix) {
  for (const int64_t tokens : {0, 1, 5, 40}) {
    constexpr int64_t kHeads = 5, kIn = 19, kOut = 23;
    std::vector<float> in = randoms(tokens * kHeads * kIn), weights = randoms(kHeads * kIn * kOut);
    std::vector<WeightMatrix> matrices;
    for (int64_t head = 0; head < kHeads; ++head)  // read through their strides, as [in, out]
      matrices.push_back({weights.data() + head * kIn * kOut, DType::kFloat32, kOut, kIn, 1, kOut});
    const auto prepared = stages_.prepare_heads({.name = "heads", .in_features = kIn, .out_features = kOut},
                                                static_cast<int32_t>(matrices.size()), matrices, {});
    std::vector<float> out(tokens * kHeads * kOut);
    stages_.multiply_heads(*prepared, float_matrix(in.data(), tokens, kHeads * kIn),
                           float_matrix(out.data(), tokens, kHeads * kOut), {});
    std::vector<double> expected;
    for (int64_t token = 0; token < tokens; ++token)
      for (int64_t head = 0; head < kHeads; ++head)
        for (int64_t o = 0; o < kOut; ++o) {
          double sum = 0;
          for (int64_t i = 0; i < kIn; ++i)
            sum += static_cast<double>(in[(token * kHeads + head) * kIn + i]) * weights[(head * kIn + i) * kOut + o];
          expected.push_back(sum);
        }
    expect_near(out, expected, 2e-5);
  }
}

TEST_P(DecoderStagesTest, MultipliesHeadsInEveryType) {
  const auto expect_products = [&](const Held& held, int64_t tokens, double tolerance) {
    // The down projections of experts are matrices of every type.
    constexpr int64_t kIn = 71, kOut = 83;
    const RandomLayer random({.hidden = kOut, .intermediate = kIn, .held = held});
    std::vector<WeightMatrix> matrices;
    for (const auto& expert : random.host.experts) matrices.push_back(expert.down);
    const auto heads = static_cast<int64_t>(matrices.size());
    const auto prepared = stages_.prepare_heads({.name = "heads",
                                                 .in_features = kIn,
                                                 .out_features = kOut,
                                                 .weight_type = held.type,
                                                 .weight_group = held.group,
                                                 .row_type = held.row_type},
                                                static_cast<int32_t>(heads), matrices, {});
    std::vector<float> in = randoms(tokens * heads * kIn), out(tokens * heads * kOut);
    stages_.multiply_heads(*prepared, float_matrix(in.data(), tokens, heads * kIn),
                           float_matrix(out.data(), tokens, heads * kOut), {});
    std::vector<double> expected;
    for (int64_t row = 0; row < tokens * heads; ++row) {
      const std::vector<double> x(in.begin() + row * kIn, in.begin() + (row + 1) * kIn);
      for (const double y : affine(random.dense[row % heads].down, x, {})) expected.push_back(y);
    }
    const double error = relative_error(out, expected);
    EXPECT_FALSE(!(error <= tolerance)) << error << " in type " << static_cast<int>(held.type) << " of " << tokens;
  };
  for (const int64_t tokens : {1, 3, 30}) {
    for (const Held held : kEveryHeld) expect_products(held, tokens, 1e-6);
    for (const Held held : kEveryIntegerProduct) expect_products(held, tokens, 0.01);
  }
}

}  // namespace
}  // namespace moe::test
