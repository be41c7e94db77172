#include "cpu/weights.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/weights/float16.h"
#include "core/weights/quantize.h"
#include "core/weights/read_weights.h"

namespace moe::cpu {
namespace {

// 64 rows of a panel, and 64 values of each of its columns in the source.
constexpr int64_t kDepthBlock = 64;
constexpr size_t kCacheLine = 64;
// With one scale for a whole output feature, so many rows stand behind a copy of it.
constexpr int64_t kRowsPerFeatureScale = 128;
constexpr int64_t kNibblesPerWord = 8;
constexpr int64_t kDotRows = 4;     // of integer dot products, in one word
constexpr int64_t kDotNibbles = 8;  // of integer dot products, in one word

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Float32 {
  using Bits = float;
  static constexpr DType kType = DType::kFloat32;
  static float narrow(float value) { return value; }
};
struct BFloat16 {
  using Bits = uint16_t;
  static constexpr DType kType = DType::kBFloat16;
  static uint16_t narrow(float value) { return to_bfloat16(value); }
};
struct Float16 {
  using Bits = uint16_t;
  static constexpr DType kType = DType::kFloat16;
  static uint16_t narrow(float value) { return to_float16(value); }
};

// out[k * out_step] = in[k * in_step], for k in [0, count). Checkpoints do not promise alignment.
template <class Bits>
void copy_strided(const std::byte* in, int64_t in_step, Bits* out, int64_t out_step, int64_t count) {
  for (int64_t k = 0; k < count; ++k)
    std::memcpy(out + k * out_step, in + k * in_step * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
}

int64_t panels_for(int64_t columns, bool gated, int64_t panel_columns) {
  const int64_t per_panel = gated ? panel_columns / 2 : panel_columns;
  return (columns + per_panel - 1) / per_panel;
}

size_t round_up(size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

}  // namespace

PackedMatrices::PackedMatrices(const Kernels& kernels, WeightFormat format, bool gated, int64_t matrices,
                               int64_t columns, int64_t depth)
    : PackedMatrices(kernels, format, gated, matrices, columns, depth, nullptr) {
  memory_ = AlignedBuffer(bytes_);
  base_ = memory_.data();
  std::memset(memory_.data() + bias_begin_, 0, bytes_ - bias_begin_);
}

PackedMatrices::PackedMatrices(const Kernels& kernels, WeightFormat format, bool gated, int64_t matrices,
                               int64_t columns, int64_t depth, const PackedPart& part)
    : PackedMatrices(kernels, format, gated, matrices, columns, depth, part.data) {
  if (part.bytes != bytes_)
    throw Error(ErrorCode::kCheckpoint, "Expected the packed part `" + part.name + "` to have " +
                                            std::to_string(bytes_) + " bytes, got " + std::to_string(part.bytes));
}

void PackedMatrices::hold(const std::vector<int32_t>& matrices) { held_ = matrices; }

PackedMatrices::PackedMatrices(const Kernels& kernels, WeightFormat format, bool gated, int64_t matrices,
                               int64_t columns, int64_t depth, const void* base)
    : type_(format.type),
      integer_products_(format.integer_products),
      gated_(gated),
      scale_per_feature_(format.group == 0),
      group_(format.group == 0 ? kRowsPerFeatureScale : format.group),
      lanes_(kernels.lanes),
      panel_columns_(kernels.panel_columns),
      matrices_(matrices),
      columns_(columns),
      depth_(depth),
      num_panels_(panels_for(columns, gated, kernels.panel_columns)),
      panel_bytes_(bytes_of_rows(depth_) +
                   (is_quantized(type_) ? divide_up(depth_, group_) * panel_columns_ * sizeof(uint16_t) : 0)),
      bias_begin_(round_up(matrices_ * num_panels_ * panel_bytes_)),
      bytes_(bias_begin_ + round_up(matrices_ * num_panels_ * panel_columns_ * sizeof(float))),
      base_(static_cast<const std::byte*>(base)) {}

size_t PackedMatrices::bytes_of_rows(int64_t rows) const {
  switch (type_) {
    case WeightType::kFloat32:
      return rows * panel_columns_ * 4;
    case WeightType::kBFloat16:
    case WeightType::kFloat16:
      return rows * panel_columns_ * 2;
    case WeightType::kInt8:
      return (integer_products_ ? padded_depth(rows) : rows) * panel_columns_;
    case WeightType::kInt4: {
      const int64_t together = integer_products_ ? kDotNibbles : kNibblesPerWord * lanes_ / panel_columns_;
      return divide_up(rows, together) * together * panel_columns_ / 2;
    }
  }
  throw Error(ErrorCode::kInternal, "Expected a known weight type");
}

PackedMatrices::Source PackedMatrices::source_of(int64_t panel, int64_t column) const {
  if (!gated_) return {false, panel * panel_columns_ + column};
  const int64_t half = panel_columns_ / 2;
  return {column < half, panel * half + column % half};
}

int64_t PackedMatrices::position_of(int64_t column) const {
  if (type_ != WeightType::kBFloat16 && !is_quantized(type_)) return column;
  // Columns l and lanes + l share a 32-bit word.
  const int64_t pair = column / (2 * lanes_), within = column % (2 * lanes_);
  return pair * 2 * lanes_ + 2 * (within % lanes_) + within / lanes_;
}

// One register's columns at a time: they come from one matrix, and stand `step` apart in the panel. A block of depth
// keeps both sides in L1, and a copy runs along the source's denser dimension.
template <class To>
void PackedMatrices::pack_floats(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  using Bits = typename To::Bits;
  auto* const out = reinterpret_cast<Bits*>(at(matrix, panel));
  const int64_t step = position_of(1) - position_of(0);
  std::vector<float> widened(lanes_ * kDepthBlock);
  for (int64_t block = 0; block < depth_; block += kDepthBlock) {
    const int64_t depth = std::min(kDepthBlock, depth_ - block);
    for (int64_t column = 0; column < panel_columns_; column += lanes_) {
      const Source source = source_of(panel, column);
      const WeightMatrix& from = source.gate ? gate : up;
      const int64_t valid = std::clamp<int64_t>(columns_ - source.feature, 0, lanes_);
      const auto element = [&](int64_t l, int64_t k) {
        const int64_t index = (source.feature + l) * from.out_stride + (block + k) * from.in_stride;
        return static_cast<const std::byte*>(from.data) + index * static_cast<int64_t>(sizeof(Bits));
      };
      Bits* const to = out + block * panel_columns_ + position_of(column);

      if (from.dtype != To::kType || from.scales) {
        read_block(from, source.feature, valid, block, depth, widened.data());
        for (int64_t l = 0; l < valid; ++l)
          for (int64_t k = 0; k < depth; ++k) to[l * step + k * panel_columns_] = To::narrow(widened[l * depth + k]);
      } else if (std::abs(from.out_stride) < std::abs(from.in_stride)) {
        for (int64_t k = 0; k < depth; ++k)
          copy_strided(element(0, k), from.out_stride, to + k * panel_columns_, step, valid);
      } else {
        for (int64_t l = 0; l < valid; ++l)
          copy_strided(element(l, 0), from.in_stride, to + l * step, panel_columns_, depth);
      }
      for (int64_t l = valid; l < lanes_; ++l)
        for (int64_t k = 0; k < depth; ++k) to[l * step + k * panel_columns_] = {};
    }
  }
}

// As kernels/weights.h and kernels/integer.h have it. What stands there is zero before.
void PackedMatrices::put_integers(std::byte* rows, int64_t column, const int8_t* q, int64_t count) const {
  if (type_ == WeightType::kInt8 && !integer_products_) {
    for (int64_t k = 0; k < count; ++k) rows[k * panel_columns_ + column] = static_cast<std::byte>(q[k]);
    return;
  }
  const int64_t registers = panel_columns_ / lanes_, lane = column % lanes_, reg = column / lanes_;
  const bool int4_lanes = type_ == WeightType::kInt4 && !integer_products_;
  const int64_t together = int4_lanes                   ? kNibblesPerWord / registers
                           : type_ == WeightType::kInt4 ? kDotNibbles
                                                        : kDotRows;
  const int64_t words_per_row = int4_lanes ? lanes_ : panel_columns_, word = int4_lanes ? lane : column;
  const auto put = [&](int64_t index, const int8_t* integers) {
    uint32_t bits = 0, next = 0;  // a byte for each integer
    if (together >= kDotRows)
      std::memcpy(&bits, integers, sizeof bits);
    else
      std::memcpy(&bits, integers, sizeof(uint16_t));
    if (int4_lanes) {  // a nibble by row and by register
      bits = (registers == 2 ? bits & 0x0f0f0f0f : (bits & 0xf) | (bits & 0xf00) << 8) << (4 * reg);
    } else if (type_ == WeightType::kInt4) {  // -8 to 7 as 0 to 15; two rows share a byte, four apart
      std::memcpy(&next, integers + kDotRows, sizeof next);
      bits = ((bits ^ 0x08080808) & 0x0f0f0f0f) | ((next ^ 0x08080808) & 0x0f0f0f0f) << 4;
    }
    std::byte* const at = rows + (index * words_per_row + word) * static_cast<int64_t>(sizeof bits);
    uint32_t before;
    std::memcpy(&before, at, sizeof before);
    bits |= before;
    std::memcpy(at, &bits, sizeof bits);
  };
  int64_t k = 0;
  for (; k + together <= count; k += together) put(k / together, q + k);
  if (k == count) return;
  int8_t last[kNibblesPerWord] = {};
  std::copy_n(q + k, count - k, last);
  put(k / together, last);
}

void PackedMatrices::put_column(std::byte* panel, int64_t column, const int8_t* q, const uint16_t* scales) const {
  const size_t scales_bytes = panel_columns_ * sizeof(uint16_t);
  for (int64_t row = 0; row < depth_; row += group_, ++scales) {
    std::memcpy(panel + position_of(column) * sizeof(uint16_t), scales, sizeof *scales);
    const int64_t rows = std::min(group_, depth_ - row);
    put_integers(panel + scales_bytes, column, q + row, rows);
    panel += scales_bytes + bytes_of_rows(rows);
  }
}

// A whole output feature is quantised at a time, a register's worth of them is read together.
void PackedMatrices::pack_integers(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  std::byte* const out = at(matrix, panel);
  std::memset(out, 0, panel_bytes_);
  const int64_t groups = divide_up(depth_, group_);
  std::vector<float> widened(lanes_ * depth_);
  std::vector<int8_t> q(depth_);
  std::vector<uint16_t> scales(groups);
  for (int64_t column = 0; column < panel_columns_; column += lanes_) {
    const Source source = source_of(panel, column);
    const int64_t valid = std::clamp<int64_t>(columns_ - source.feature, 0, lanes_);
    read_block(source.gate ? gate : up, source.feature, valid, 0, depth_, widened.data());
    for (int64_t l = 0; l < valid; ++l) {
      quantize(type_, widened.data() + l * depth_, depth_, scale_per_feature_ ? 0 : group_, q.data(), scales.data());
      if (scale_per_feature_) std::fill(scales.begin(), scales.end(), scales.front());
      put_column(out, column + l, q.data(), scales.data());
    }
  }
}

void PackedMatrices::pack_panel(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  switch (type_) {
    case WeightType::kFloat32:
      return pack_floats<Float32>(matrix, panel, gate, up);
    case WeightType::kBFloat16:
      return pack_floats<BFloat16>(matrix, panel, gate, up);
    case WeightType::kFloat16:
      return pack_floats<Float16>(matrix, panel, gate, up);
    case WeightType::kInt8:
    case WeightType::kInt4:
      return pack_integers(matrix, panel, gate, up);
  }
}

void PackedMatrices::pack_bias(int64_t matrix, const WeightVector& gate, const WeightVector& up) {
  auto* const biases = reinterpret_cast<float*>(memory_.data() + bias_begin_);
  for (int64_t panel = 0; panel < num_panels_; ++panel)
    for (int64_t column = 0; column < panel_columns_; ++column) {
      const Source source = source_of(panel, column);
      const WeightVector& from = source.gate ? gate : up;
      if (from && source.feature < columns_)
        biases[(matrix * num_panels_ + panel) * panel_columns_ + column] =
            read_float(from.data, from.dtype, source.feature * from.stride);
    }
}

}  // namespace moe::cpu
