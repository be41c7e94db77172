// What a device makes of a layer, in float64, with the roundings that its options ask for and no others, and how far
// off that is with one of them left out. A device that is more exact than it was told to be is as wrong as one that is
// less.
#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/layer/layer.h"
#include "cpu/random_layer.h"

namespace moe::test {

// To so many bits, once: by way of float32 some would be rounded twice.
inline double to_bits(double value, int bits) {
  if (value == 0) return 0;
  const int unit = std::ilogb(value) - (bits - 1);
  return std::ldexp(std::nearbyint(std::ldexp(value, -unit)), unit);
}
inline double as_bfloat16(double value) { return to_bits(value, 8); }
inline double as_float16(double value) {
  constexpr double kSubnormals = 0x1p-14, kUnit = 0x1p-24;
  return std::abs(value) < kSubnormals ? std::nearbyint(value / kUnit) * kUnit : to_bits(value, 11);
}

// Rounds a row to int8: in every `group` of values, 0 for all, the largest magnitude becomes 127.
inline void quantize_row(std::vector<double>& row, int64_t group) {
  const auto count = static_cast<int64_t>(row.size()), size = group == 0 ? count : group;
  for (int64_t begin = 0; begin < count; begin += size) {
    const int64_t end = std::min(begin + size, count);
    double largest = 0;
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(row[i]));
    for (int64_t i = begin; i < end; ++i) row[i] = largest > 0 ? std::round(row[i] / largest * 127) * largest / 127 : 0;
  }
}

// What a device rounds beside the weights, which RandomLayer has rounded. Left out: nothing.
struct Rounding {
  double (*value)(double) = nullptr;                // the values of rows, before each product
  bool results = false;                             // and the results of products
  std::function<void(std::vector<double>&)> row{};  // whole rows, after that
  double (*weight)(double) = nullptr;               // weights that were widened from integers
};

enum class Site { kGateWeights, kUpWeights, kDownWeights, kGateRows, kUpRows, kDownRows, kNone };
constexpr const char* kSiteNames[] = {"gate's weights", "up's weights", "down's weights",
                                      "gate's rows",    "up's rows",    "down's rows"};

class RoundedExpert {
 public:
  // stored: the weights before they were rounded. The rounding at `left_out` is not done.
  RoundedExpert(const DenseExpert& held, const DenseExpert& stored, Activation activation, const Rounding& rounding,
                Site left_out)
      : activation_(activation),
        rounding_(rounding),
        left_out_(left_out),
        gate_(weights(held.gate, stored.gate, Site::kGateWeights)),
        up_(weights(held.up, stored.up, Site::kUpWeights)),
        down_(weights(held.down, stored.down, Site::kDownWeights)) {}

  std::vector<double> run(const std::vector<double>& x) const {
    std::vector<double> up = product(up_, x, Site::kUpRows);
    const std::vector<double> gate = is_gated(activation_) ? product(gate_, x, Site::kGateRows) : up;
    for (size_t i = 0; i < up.size(); ++i) up[i] = activate(activation_, gate[i], up[i]);
    return product(down_, up, Site::kDownRows);
  }

 private:
  DenseMatrix weights(const DenseMatrix& held, const DenseMatrix& stored, Site site) const {
    if (site == left_out_) return stored;
    DenseMatrix matrix = held;
    if (rounding_.weight)
      for (double& value : matrix.values) value = rounding_.weight(value);
    return matrix;
  }

  std::vector<double> product(const DenseMatrix& matrix, std::vector<double> row, Site site) const {
    const bool leaves_out = site == left_out_;
    if (rounding_.value && !(leaves_out && !rounding_.row))
      for (double& value : row) value = rounding_.value(value);
    if (rounding_.row && !leaves_out) rounding_.row(row);
    std::vector<double> result = affine(matrix, row, {});
    if (rounding_.results)
      for (double& value : result) value = rounding_.value(value);
    return result;
  }

  Activation activation_;
  const Rounding& rounding_;
  Site left_out_;
  DenseMatrix gate_, up_, down_;
};

// The relative error of the token in the middle. A value between two steps may fall to either side, which moves its
// token by as much as many roundings do; a rounding that is left out moves all tokens.
inline double usual_error(const std::vector<double>& actual, const std::vector<double>& expected, int64_t width) {
  std::vector<double> errors;
  for (size_t at = 0; at < expected.size(); at += width) {
    const std::vector<float> part(actual.begin() + at, actual.begin() + at + width);
    errors.push_back(relative_error(part, {expected.begin() + at, expected.begin() + at + width}));
  }
  std::nth_element(errors.begin(), errors.begin() + errors.size() / 2, errors.end());
  return errors[errors.size() / 2];
}

// The backend's output must be far nearer to the reference than the reference with any one rounding left out is, be it
// in the chosen experts or in the shared one. `options` has a shared expert and no biases.
inline void expect_every_rounding(Device& backend, const LayerOptions& options, const Rounding& rounding,
                                  int64_t tokens) {
  RandomLayer layer(options);
  LayerOptions unrounded = options;
  unrounded.held = {};
  const RandomLayer stored(unrounded);  // draws the same numbers
  const LayerSpec& spec = layer.spec;
  const int64_t width = spec.hidden_size, fan_out = spec.moe.num_experts_chosen;
  const std::vector<float> hidden = layer.hidden(tokens);

  const Layer on_device(backend, spec, layer.host, [](int64_t, int64_t) {}, {});
  Workspace workspace(backend);
  std::vector<float> output(hidden.size()), weights(tokens * fan_out);
  std::vector<int32_t> chosen(tokens * fan_out);
  std::vector<uint32_t> load(spec.moe.expert_num);
  RoutingTotals totals{};
  on_device.forward(workspace, {hidden.data(), DType::kFloat32, tokens},
                    {output.data(), chosen.data(), weights.data(), load.data(), &totals}, {});

  const auto expected = [&](Site in_experts, Site in_shared) {
    std::vector<RoundedExpert> experts;
    for (int32_t e = 0; e < spec.moe.expert_num; ++e)
      experts.emplace_back(layer.dense[e], stored.dense[e], spec.activation, rounding, in_experts);
    const RoundedExpert shared(layer.dense_shared, stored.dense_shared, spec.shared_activation, rounding, in_shared);
    std::vector<double> sums(hidden.size(), 0.0);
    for (int64_t token = 0; token < tokens; ++token) {
      const std::vector<double> x(hidden.begin() + token * width, hidden.begin() + (token + 1) * width);
      const auto add = [&](double weight, const RoundedExpert& expert) {
        const std::vector<double> y = expert.run(x);
        for (int64_t i = 0; i < width; ++i) sums[token * width + i] += weight * y[i];
      };
      for (int64_t slot = token * fan_out; slot < (token + 1) * fan_out; ++slot)
        add(weights[slot], experts[chosen[slot]]);
      add(1, shared);
    }
    return sums;
  };
  const std::vector<double> reference = expected(Site::kNone, Site::kNone);
  const double error = usual_error({output.begin(), output.end()}, reference, width);
  constexpr double kFarNearer = 4;
  for (const Site site :
       {Site::kGateWeights, Site::kUpWeights, Site::kDownWeights, Site::kGateRows, Site::kUpRows, Site::kDownRows})
    for (const bool shared : {false, true}) {
      if (site < Site::kGateRows ? options.held.type == WeightType::kFloat32 : !rounding.value && !rounding.row)
        continue;
      const std::vector<double> other = shared ? expected(Site::kNone, site) : expected(site, Site::kNone);
      const double distance = usual_error(other, reference, width);
      EXPECT_TRUE(kFarNearer * error < distance)
          << "with " << kSiteNames[static_cast<int>(site)] << (shared ? " of the shared expert" : "")
          << " not rounded the output is " << distance << " off, and it is " << error << " off: weights "
          << static_cast<int>(options.held.type) << " in groups of " << options.held.group << ", " << tokens
          << " tokens";
    }
}

}  // namespace moe::test
