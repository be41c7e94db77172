#include "core/weights/grouped.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/weights/blocks.h"
#include "core/weights/float16.h"
#include "core/weights/integers.h"
#include "core/weights/read_weights.h"

namespace moe {
namespace {

// The bits of element `index`, which has at most 32 of them.
uint32_t bits_at(const void* data, DType dtype, int64_t index) {
  const auto* const bytes = static_cast<const uint8_t*>(data);
  if (bits_of(dtype) == 4) return bytes[index / 2] >> index % 2 * 4 & 0xf;
  uint32_t bits = 0;
  std::memcpy(&bits, bytes + index * static_cast<int64_t>(size_of(dtype)), size_of(dtype));
  return bits;
}

std::optional<CodeKind> codes_of(DType dtype) {
  if (is_integer(dtype)) return CodeKind::kInteger;
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
    case DType::kFloat8E4M3:
      return ScaleKind::kFloat32TimesE4M3;
    default:
      return std::nullopt;
  }
}

// Groups may stand in order although each input says its own.
bool is_ordered(const WeightMatrix& matrix) {
  for (int64_t i = 0; matrix.scales.group_of_input && i < matrix.in_features; ++i)
    if (group_of(matrix.scales, i) != i / matrix.scales.in_block) return true;
  return false;
}

// What scales of float8 are multiplied by. The reciprocal of a power of two is exact, as is its product; other divisors
// divide.
struct FirstLevel {
  float number;
  bool divides;
};
FirstLevel first_level_of(const WeightScales& scales) {
  if (scales.divisor == 1) return {scales.factor, false};
  int exponent;
  const float reciprocal = 1 / scales.divisor;
  if (std::frexp(scales.divisor, &exponent) == 0.5f && std::isnormal(reciprocal)) return {reciprocal, false};
  return {scales.divisor, true};
}

// Of float8 as the second level only the first.
float factor_of(ScaleKind kind, uint32_t bits, int32_t level) {
  switch (kind) {
    case ScaleKind::kFloat32:
    case ScaleKind::kFloat32TimesE4M3:
      return std::bit_cast<float>(bits);
    case ScaleKind::kBFloat16:
      return from_bfloat16(static_cast<uint16_t>(bits));
    case ScaleKind::kFloat16:
      return from_float16(static_cast<uint16_t>(bits));
    case ScaleKind::kFloat8E8M0:
      return from_float8_e8m0(static_cast<uint8_t>(bits));
    case ScaleKind::kFloat16TimesInteger:
      return from_float16(static_cast<uint16_t>(bits)) * static_cast<float>(level);
  }
  throw Error(ErrorCode::kInternal, "Expected a kind of scales");
}

}  // namespace

std::optional<GroupedForm> grouped_form(const WeightMatrix& matrix) {
  if (matrix.blocks) return matrix.blocks->form;
  const auto codes = codes_of(matrix.dtype);
  if (!codes || !matrix.scales) return std::nullopt;
  const auto scale = scales_of(matrix.scales.dtype);
  const FirstLevel first = first_level_of(matrix.scales);
  if (!scale) return std::nullopt;
  const bool two_levels = *scale == ScaleKind::kFloat32TimesE4M3;
  if (matrix.scales.factor != 1 && matrix.scales.divisor != 1) return std::nullopt;
  if (two_levels ? matrix.scales.offsets != nullptr : first.divides || first.number != 1) return std::nullopt;
  const bool in_one = matrix.scales.in_block >= matrix.in_features;
  return GroupedForm{.codes = *codes,
                     .bits = static_cast<int32_t>(std::max<int64_t>(bits_of(matrix.dtype), 4)),
                     .group = in_one ? 0 : static_cast<int32_t>(matrix.scales.in_block),
                     .ordered = is_ordered(matrix),
                     .scale = *scale,
                     .divides = first.divides,
                     .offsets = matrix.scales.offsets != nullptr,
                     .zeros = static_cast<bool>(matrix.zeros),
                     .zero = is_integer(matrix.dtype) && !matrix.zeros ? zero_of(matrix, 0, 0) : 0};
}

void read_grouped(const WeightMatrix& matrix, int64_t out, uint8_t* codes, GroupFactors* factors) {
  if (matrix.order) return read_grouped(row_of(matrix, out), 0, codes, factors);
  if (const BlockType* const type = matrix.blocks) {
    const uint8_t* block = block_row(matrix, out);
    for (int64_t i = 0; i < matrix.in_features; i += type->elements, block += type->bytes, factors += type->groups())
      split_block(matrix, block, codes + i, factors);
    return;
  }
  const int64_t o = matrix.first_out + out;
  if (is_integer(matrix.dtype))
    read_codes(matrix, out, 0, matrix.in_features, codes);
  else if (bits_of(matrix.dtype) == 8 && matrix.in_stride == 1)
    std::memcpy(codes, static_cast<const uint8_t*>(matrix.data) + o * matrix.out_stride, matrix.in_features);
  else
    for (int64_t i = 0; i < matrix.in_features; ++i)
      codes[i] = static_cast<uint8_t>(bits_at(matrix.data, matrix.dtype, o * matrix.out_stride + i * matrix.in_stride));
  const WeightScales& scales = matrix.scales;
  const int64_t row = o / scales.out_block * scales.out_stride;
  const int64_t groups = (matrix.in_features + scales.in_block - 1) / scales.in_block;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t index = row + g * scales.in_stride;
    GroupFactors& to = factors[g] = {.scale = bits_at(scales.data, scales.dtype, index)};
    if (scales.dtype == DType::kFloat8E4M3)
      to = {.scale = std::bit_cast<uint32_t>(first_level_of(scales).number), .level = static_cast<int32_t>(to.scale)};
    if (scales.offsets) to.offset = bits_at(scales.offsets, scales.dtype, index);
    if (matrix.zeros) to.zero = zero_of(matrix, out, g);
  }
}

bool is_finite(const GroupedForm& form, const GroupFactors& factors) {
  const float level =
      form.scale == ScaleKind::kFloat32TimesE4M3 ? from_float8_e4m3(static_cast<uint8_t>(factors.level)) : 1.0f;
  return std::isfinite(level) && std::isfinite(factor_of(form.scale, factors.scale, factors.level)) &&
         (!form.offsets || std::isfinite(factor_of(form.scale, factors.offset, factors.offset_level)));
}

void grouped_values(const GroupedForm& form, const GroupFactors& factors, const uint8_t* codes, int64_t count,
                    float* to) {
  const auto with_numbers = [&](const auto& number) {
    for (int64_t i = 0; i < count; ++i) to[i] = number(codes[i]);
  };
  switch (form.codes) {
    case CodeKind::kInteger:
      with_numbers(
          [zero = form.zeros ? factors.zero : form.zero](int code) { return static_cast<float>(code - zero); });
      break;
    case CodeKind::kIq4:
      with_numbers([](uint8_t code) { return static_cast<float>(kIq4Numbers[code]); });
      break;
    case CodeKind::kFloat4E2M1:
      with_numbers(from_float4_e2m1);
      break;
    case CodeKind::kFloat8E4M3:
      with_numbers(from_float8_e4m3);
  }
  if (form.scale == ScaleKind::kFloat32TimesE4M3) {
    const float level = from_float8_e4m3(static_cast<uint8_t>(factors.level));
    for (int64_t i = 0; i < count; ++i) to[i] *= level;
  }
  const float scale = factor_of(form.scale, factors.scale, factors.level);
  for (int64_t i = 0; i < count; ++i) to[i] = form.divides ? to[i] / scale : to[i] * scale;
  if (!form.offsets) return;
  // Levels of offsets are negative: their product is subtracted, which zeros keep their sign by.
  const float offset = form.scale == ScaleKind::kFloat16TimesInteger
                           ? -factor_of(form.scale, factors.offset, -factors.offset_level)
                           : factor_of(form.scale, factors.offset, 0);
  for (int64_t i = 0; i < count; ++i) to[i] += offset;
}

}  // namespace moe
