#include "cpu/packed_matrices.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/float16.h"

namespace moe::cpu {
namespace {

// 64 rows of a panel, and 64 values of each of its columns in the source.
constexpr int64_t kDepthBlock = 64;
constexpr size_t kCacheLine = 64;

struct Float32 {
  using Bits = float;
  static constexpr DType kType = DType::kFloat32;
  static float widen(float value) { return value; }
  static float narrow(float value) { return value; }
};
struct BFloat16 {
  using Bits = uint16_t;
  static constexpr DType kType = DType::kBFloat16;
  static float widen(uint16_t bits) { return from_bfloat16(bits); }
  static uint16_t narrow(float value) { return to_bfloat16(value); }
};
struct Float16 {
  using Bits = uint16_t;
  static constexpr DType kType = DType::kFloat16;
  static float widen(uint16_t bits) { return from_float16(bits); }
  static uint16_t narrow(float value) { return to_float16(value); }
};

// out[k * out_step] = in[k * in_step], for k in [0, count). Checkpoints do not promise alignment.
template <class From, class To>
void copy_strided(const std::byte* in, int64_t in_step, typename To::Bits* out, int64_t out_step, int64_t count) {
  for (int64_t k = 0; k < count; ++k) {
    typename From::Bits bits;
    std::memcpy(&bits, in + k * in_step * static_cast<int64_t>(sizeof bits), sizeof bits);
    if constexpr (From::kType == To::kType)
      out[k * out_step] = bits;
    else
      out[k * out_step] = To::narrow(From::widen(bits));
  }
}

template <class To>
void copy_strided(DType from, const std::byte* in, int64_t in_step, typename To::Bits* out, int64_t out_step,
                  int64_t count) {
  switch (from) {
    case DType::kFloat32:
      return copy_strided<Float32, To>(in, in_step, out, out_step, count);
    case DType::kBFloat16:
      return copy_strided<BFloat16, To>(in, in_step, out, out_step, count);
    case DType::kFloat16:
      return copy_strided<Float16, To>(in, in_step, out, out_step, count);
  }
}

int64_t panels_for(int64_t columns, bool gated, int64_t panel_columns) {
  const int64_t per_panel = gated ? panel_columns / 2 : panel_columns;
  return (columns + per_panel - 1) / per_panel;
}

size_t round_up(size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

}  // namespace

PackedMatrices::PackedMatrices(const Kernels& kernels, DType type, bool gated, int64_t matrices, int64_t columns,
                               int64_t depth)
    : type_(type),
      gated_(gated),
      lanes_(kernels.lanes),
      panel_columns_(kernels.panel_columns),
      matrices_(matrices),
      columns_(columns),
      depth_(depth),
      num_panels_(panels_for(columns, gated, kernels.panel_columns)) {
  const size_t panels_bytes = round_up(matrices_ * num_panels_ * panel_bytes());
  const size_t biases = matrices_ * num_panels_ * panel_columns_;
  memory_ = AlignedBuffer(panels_bytes + biases * sizeof(float));
  bias_ = reinterpret_cast<float*>(memory_.data() + panels_bytes);
  std::fill(bias_, bias_ + biases, 0.0f);
}

PackedMatrices::Source PackedMatrices::source_of(int64_t panel, int64_t column) const {
  if (!gated_) return {false, panel * panel_columns_ + column};
  const int64_t half = panel_columns_ / 2;
  return {column < half, panel * half + column % half};
}

int64_t PackedMatrices::position_of(int64_t column) const {
  if (type_ != DType::kBFloat16) return column;
  // Columns l and lanes + l share a 32-bit word.
  const int64_t pair = column / (2 * lanes_), within = column % (2 * lanes_);
  return pair * 2 * lanes_ + 2 * (within % lanes_) + within / lanes_;
}

// One register's columns at a time: they come from one matrix, and stand `step` apart in the panel. A block of depth
// keeps both sides in L1, and the copy runs along the source's denser dimension.
template <class To>
void PackedMatrices::pack_panel_as(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  auto* const out = reinterpret_cast<typename To::Bits*>(at(matrix, panel));
  const int64_t step = position_of(1) - position_of(0);
  for (int64_t block = 0; block < depth_; block += kDepthBlock) {
    const int64_t depth = std::min(kDepthBlock, depth_ - block);
    for (int64_t column = 0; column < panel_columns_; column += lanes_) {
      const Source source = source_of(panel, column);
      const WeightMatrix& from = source.gate ? gate : up;
      const int64_t valid = std::clamp<int64_t>(columns_ - source.feature, 0, lanes_);
      const auto element = [&](int64_t l, int64_t k) {
        const int64_t index = (source.feature + l) * from.out_stride + (block + k) * from.in_stride;
        return static_cast<const std::byte*>(from.data) + index * static_cast<int64_t>(size_of(from.dtype));
      };
      typename To::Bits* const to = out + block * panel_columns_ + position_of(column);

      if (std::abs(from.out_stride) < std::abs(from.in_stride)) {
        for (int64_t k = 0; k < depth; ++k)
          copy_strided<To>(from.dtype, element(0, k), from.out_stride, to + k * panel_columns_, step, valid);
      } else {
        for (int64_t l = 0; l < valid; ++l)
          copy_strided<To>(from.dtype, element(l, 0), from.in_stride, to + l * step, panel_columns_, depth);
      }
      for (int64_t l = valid; l < lanes_; ++l)
        for (int64_t k = 0; k < depth; ++k) to[l * step + k * panel_columns_] = {};
    }
  }
}

void PackedMatrices::pack_panel(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  switch (type_) {
    case DType::kFloat32:
      return pack_panel_as<Float32>(matrix, panel, gate, up);
    case DType::kBFloat16:
      return pack_panel_as<BFloat16>(matrix, panel, gate, up);
    case DType::kFloat16:
      return pack_panel_as<Float16>(matrix, panel, gate, up);
  }
}

void PackedMatrices::pack_bias(int64_t matrix, const WeightVector& gate, const WeightVector& up) {
  for (int64_t panel = 0; panel < num_panels_; ++panel)
    for (int64_t column = 0; column < panel_columns_; ++column) {
      const Source source = source_of(panel, column);
      const WeightVector& from = source.gate ? gate : up;
      if (from && source.feature < columns_)
        bias_[(matrix * num_panels_ + panel) * panel_columns_ + column] =
            read_float(from.data, from.dtype, source.feature * from.stride);
    }
}

}  // namespace moe::cpu
