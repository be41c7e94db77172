#include "core/weights/grouped.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"

namespace moe {
namespace {

constexpr std::array<int64_t, 4> kGroups = {16, 32, 64, 128};

// The bits of element `index`, which has at most 32 of them.
uint32_t bits_at(const void* data, DType dtype, int64_t index) {
  const auto* const bytes = static_cast<const uint8_t*>(data);
  if (bits_of(dtype) == 4) return bytes[index / 2] >> index % 2 * 4 & 0xf;
  uint32_t bits = 0;
  std::memcpy(&bits, bytes + index * static_cast<int64_t>(size_of(dtype)), size_of(dtype));
  return bits;
}

std::optional<CodeKind> codes_of(DType dtype) {
  if (dtype == DType::kFloat8E4M3) return CodeKind::kFloat8E4M3;
  if (dtype == DType::kFloat4E2M1) return CodeKind::kFloat4E2M1;
  return std::nullopt;
}

std::optional<ScaleKind> scales_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ScaleKind::kFloat32;
    case DType::kBFloat16:
      return ScaleKind::kBFloat16;
    case DType::kFloat16:
      return ScaleKind::kFloat16;
    case DType::kFloat8E8M0:
      return ScaleKind::kFloat8E8M0;
    default:
      return std::nullopt;
  }
}

// Inputs that share a scale; absent for other sizes than GroupedForm has.
std::optional<int32_t> group_of(int64_t in_block, int64_t in_features) {
  if (in_block >= in_features) return 0;
  if (std::find(kGroups.begin(), kGroups.end(), in_block) == kGroups.end()) return std::nullopt;
  return static_cast<int32_t>(in_block);
}

}  // namespace

std::optional<GroupedForm> grouped_form(const WeightMatrix& matrix) {
  const auto codes = codes_of(matrix.dtype);
  if (!codes || !matrix.scales) return std::nullopt;
  const auto scale = scales_of(matrix.scales.dtype);
  const auto group = group_of(matrix.scales.in_block, matrix.in_features);
  if (!scale || !group) return std::nullopt;
  return GroupedForm{
      .codes = *codes, .bits = static_cast<int32_t>(bits_of(matrix.dtype)), .group = *group, .scale = *scale};
}

void read_grouped(const WeightMatrix& matrix, int64_t out, uint8_t* codes, GroupFactors* factors) {
  for (int64_t i = 0; i < matrix.in_features; ++i)
    codes[i] = static_cast<uint8_t>(
        bits_at(matrix.data, matrix.dtype, out * matrix.out_stride + i * matrix.in_stride));
  const WeightScales& scales = matrix.scales;
  const int64_t row = (scales.first_out + out) / scales.out_block * scales.out_stride;
  const int64_t groups = (matrix.in_features + scales.in_block - 1) / scales.in_block;
  for (int64_t g = 0; g < groups; ++g)
    factors[g] = {.scale = bits_at(scales.data, scales.dtype, row + g * scales.in_stride)};
}

}  // namespace moe
