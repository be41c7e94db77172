// The experts in float64, as plainly as they can be written.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "activations.h"
#include "core/config.h"

namespace moe::test {

struct DenseMatrix {
  int64_t rows = 0, cols = 0;
  std::vector<double> values;  // row-major
  double at(int64_t row, int64_t col) const { return values[row * cols + col]; }
};

// What a layer's expert holds, widened. A vector is empty where the expert has no such bias.
struct DenseExpert {
  DenseMatrix gate, up, down;
  std::vector<double> gate_bias, up_bias, down_bias;
};

inline double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
inline double silu(double x) { return x * sigmoid(x); }
inline double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
inline double gelu_tanh(double x) {
  return x * sigmoid(2 * std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x));
}

inline double activate(const Activation& activation, double gate, double up) {
  switch (activation.kind) {
    case Activation::kSwiGLU:
    case Activation::kSwiGLUOai: {
      const double limit = activation.limit, alpha = activation.alpha;
      double g = activation.clamp == Clamp::kBefore ? std::min(gate, limit) : gate;
      g *= sigmoid(alpha * g);
      if (activation.clamp == Clamp::kAfter) g = std::min(g, limit);
      return g * (std::clamp(up, -limit, limit) + (activation.kind == Activation::kSwiGLUOai ? 1 : 0));
    }
    case Activation::kGeGLU:
      return gelu(gate) * up;
    case Activation::kGeGLUTanh:
      return gelu_tanh(gate) * up;
    case Activation::kGELU:
      return gelu(up);
    case Activation::kGELUTanh:
      return gelu_tanh(up);
    case Activation::kReLU:
      return std::max(up, 0.0);
    case Activation::kReLU2:
      return std::max(up, 0.0) * std::max(up, 0.0);
    case Activation::kSiLU:
      return silu(up);
  }
  return std::nan("");
}

// matrix * x + bias
inline std::vector<double> affine(const DenseMatrix& matrix, const std::vector<double>& x,
                                  const std::vector<double>& bias) {
  std::vector<double> y(matrix.rows);
  for (int64_t row = 0; row < matrix.rows; ++row) {
    double sum = bias.empty() ? 0 : bias[row];
    for (int64_t col = 0; col < matrix.cols; ++col) sum += matrix.at(row, col) * x[col];
    y[row] = sum;
  }
  return y;
}

inline std::vector<double> run_expert(const DenseExpert& expert, const Activation& activation,
                                      const std::vector<double>& x) {
  std::vector<double> up = affine(expert.up, x, expert.up_bias);
  const std::vector<double> gate = is_gated(activation) ? affine(expert.gate, x, expert.gate_bias) : up;
  for (size_t i = 0; i < up.size(); ++i) up[i] = activate(activation, gate[i], up[i]);
  return affine(expert.down, up, expert.down_bias);
}

// |actual - expected| / |expected|, as vectors. NaN when anything is NaN.
inline double relative_error(const std::vector<float>& actual, const std::vector<double>& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

}  // namespace moe::test
