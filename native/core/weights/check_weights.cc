#include "core/weights/check_weights.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/weights/float16.h"

namespace moe {
namespace {

std::string shape_text(int64_t rows, int64_t cols) {
  return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
}

// A scale of 0 is of weights that were lost. It may have a sign, as tools give it that use the code without an
// opposite. Where there are offsets, scales only have to be numbers.
void expect_scales(const std::string& matrix, const WeightScales& scales, int64_t first_out, int64_t outs,
                   int64_t ins) {
  const int64_t groups = (ins + scales.in_block - 1) / scales.in_block;
  std::vector<float> row(groups);
  const auto expect_numbers = [&](const void* data, int64_t first, bool is_scale) {
    read_floats(data, scales.dtype, first, scales.in_stride, groups, row.data());
    const auto wrong = std::ranges::find_if(
        row, [&](float value) { return !(std::abs(value) <= FLT_MAX) || (is_scale && value == 0); });
    if (wrong == row.end()) return;
    std::ostringstream message;
    message << "Expected " << (scales.name ? *scales.name : "the scales of `" + matrix + "`") << " to have finite "
            << (is_scale ? "numbers other than 0" : "numbers") << ", got " << *wrong << " at element "
            << first + (wrong - row.begin()) * scales.in_stride;
    throw Error(ErrorCode::kCheckpoint, message.str());
  };
  for (int64_t block = first_out / scales.out_block; block * scales.out_block < first_out + outs; ++block) {
    expect_numbers(scales.data, block * scales.out_stride, scales.offsets == nullptr);
    if (scales.offsets) expect_numbers(scales.offsets, block * scales.out_stride, false);
  }
}

}  // namespace

void expect_matrix(const std::string& name, const WeightMatrix& matrix, int64_t rows, int64_t cols) {
  if (!matrix)
    throw Error(ErrorCode::kShape, "Expected `" + name + "` of shape " + shape_text(rows, cols) + ", got none");
  if (matrix.out_features != rows || matrix.in_features != cols)
    throw Error(ErrorCode::kShape, "Expected `" + name + "` to have shape " + shape_text(rows, cols) + ", got " +
                                       shape_text(matrix.out_features, matrix.in_features));
  if (matrix.scales) expect_scales(name, matrix.scales, matrix.first_out, rows, cols);
}

void expect_vector_if_given(const std::string& name, const WeightVector& vector, int64_t size) {
  if (vector && vector.size != size)
    throw Error(ErrorCode::kShape, "Expected `" + name + "` to have " + std::to_string(size) + " values, got " +
                                       std::to_string(vector.size));
}

void expect_vector(const std::string& name, const WeightVector& vector, int64_t size) {
  if (!vector)
    throw Error(ErrorCode::kShape, "Expected `" + name + "` of " + std::to_string(size) + " values, got none");
  expect_vector_if_given(name, vector, size);
}

namespace {

// hidden and width are those of the whole expert, the parts what of them is held here as output features.
void check_expert(const std::string& name, const ExpertWeights& expert, bool gated, int64_t hidden, int64_t width,
                  int64_t hidden_part, int64_t width_part) {
  if (gated) expect_matrix(name + ".gate", expert.gate, width_part, hidden);
  if (!gated && (expert.gate || expert.gate_bias))
    throw Error(ErrorCode::kShape, "Expected no `" + name + ".gate`: the activation has no gate");
  expect_matrix(name + ".up", expert.up, width_part, hidden);
  expect_matrix(name + ".down", expert.down, hidden_part, width);
  expect_vector_if_given(name + ".gateBias", expert.gate_bias, width_part);
  expect_vector_if_given(name + ".upBias", expert.up_bias, width_part);
  expect_vector_if_given(name + ".downBias", expert.down_bias, hidden_part);
}

}  // namespace

void check_weights(const LayerSpec& spec, const LayerWeights& weights) {
  if (weights.packed) return;  // the device knows what it packed
  const int64_t experts = spec.moe.expert_num, hidden = spec.hidden_size;
  const int64_t rows = spec.moe.router_rows();
  if (rows > 1) expect_matrix("router", weights.router, rows, hidden);
  expect_vector_if_given("routerBias", weights.router_bias, rows);
  expect_vector_if_given("routerCorrectionBias", weights.correction_bias, rows);
  expect_vector_if_given("expertScale", weights.expert_scale, experts);
  const int64_t held = spec.held_experts();
  if (static_cast<int64_t>(weights.experts.size()) != held)
    throw Error(ErrorCode::kShape, "Expected weights of " + std::to_string(held) + " experts, got " +
                                       std::to_string(weights.experts.size()));
  for (int64_t expert = 0; expert < held; ++expert)
    check_expert("experts[" + std::to_string(expert) + "]", weights.experts[expert], is_gated(spec.activation),
                 spec.routed_size(), spec.intermediate_size, spec.held_hidden(), spec.held_intermediate());
  if (weights.shared.has_value() != (spec.shared_size > 0))
    throw Error(ErrorCode::kShape, "Expected shared expert weights exactly when the shared expert has a width");
  if (weights.shared)
    check_expert("shared", *weights.shared, is_gated(spec.shared_activation), hidden, spec.shared_size, hidden,
                 spec.shared_size);
  if (spec.latent_size > 0) {
    expect_matrix("latentDown", weights.latent_down, spec.latent_size, hidden);
    expect_matrix("latentUp", weights.latent_up, hidden, spec.latent_size);
  } else if (weights.latent_down || weights.latent_up) {
    throw Error(ErrorCode::kShape, "Expected no `latentDown` and no `latentUp`: there is no latent size");
  }
  if (weights.shared_router) expect_matrix("shared.router", weights.shared_router, 1, hidden);
}

}  // namespace moe
