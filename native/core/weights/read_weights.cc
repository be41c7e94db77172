#include "core/weights/read_weights.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "core/weights/float16.h"

namespace moe {
namespace {

template <class Bits, float (*kWiden)(Bits)>
struct Stored {
  static float at(const void* data, int64_t index) {
    Bits bits;  // checkpoints do not promise alignment
    std::memcpy(&bits, static_cast<const std::byte*>(data) + index * static_cast<int64_t>(sizeof bits), sizeof bits);
    return kWiden(bits);
  }
};
inline float same(float value) { return value; }
inline float widen_bfloat16(uint16_t bits) { return from_bfloat16(bits); }

// Branches on the value would cost more than a table in L1.
float float8_from_table(uint8_t bits) {
  static const auto table = [] {
    std::array<float, 256> values{};
    for (size_t i = 0; i < values.size(); ++i) values[i] = from_float8_e4m3(static_cast<uint8_t>(i));
    return values;
  }();
  return table[bits];
}

struct Float4 {
  static float at(const void* data, int64_t index) { return read_float(data, DType::kFloat4E2M1, index); }
};

// Runs along the source's denser dimension.
template <class From>
void read_unscaled(const WeightMatrix& matrix, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to) {
  const int64_t first = out * matrix.out_stride + in * matrix.in_stride;
  const auto element = [&](int64_t o, int64_t i) {
    return From::at(matrix.data, first + o * matrix.out_stride + i * matrix.in_stride);
  };
  if (std::abs(matrix.out_stride) < std::abs(matrix.in_stride)) {
    for (int64_t i = 0; i < ins; ++i)
      for (int64_t o = 0; o < outs; ++o) to[o * ins + i] = element(o, i);
  } else {
    for (int64_t o = 0; o < outs; ++o)
      for (int64_t i = 0; i < ins; ++i) to[o * ins + i] = element(o, i);
  }
}

void apply_scales(const WeightScales& scales, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to) {
  for (int64_t o = 0; o < outs; ++o) {
    const int64_t row = (scales.first_out + out + o) / scales.out_block * scales.out_stride;
    for (int64_t i = 0; i < ins;) {
      const int64_t block = (in + i) / scales.in_block, end = std::min(ins, (block + 1) * scales.in_block - in);
      const float scale = read_float(scales.data, scales.dtype, row + block * scales.in_stride);
      for (; i < end; ++i) to[o * ins + i] *= scale;
    }
  }
}

}  // namespace

void read_block(const WeightMatrix& matrix, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to) {
  switch (matrix.dtype) {
    case DType::kFloat32:
      read_unscaled<Stored<float, same>>(matrix, out, outs, in, ins, to);
      break;
    case DType::kBFloat16:
      read_unscaled<Stored<uint16_t, widen_bfloat16>>(matrix, out, outs, in, ins, to);
      break;
    case DType::kFloat16:
      read_unscaled<Stored<uint16_t, from_float16>>(matrix, out, outs, in, ins, to);
      break;
    case DType::kFloat8E4M3:
      read_unscaled<Stored<uint8_t, float8_from_table>>(matrix, out, outs, in, ins, to);
      break;
    case DType::kFloat4E2M1:
      read_unscaled<Float4>(matrix, out, outs, in, ins, to);
      break;
    case DType::kFloat8E8M0:
      read_unscaled<Stored<uint8_t, from_float8_e8m0>>(matrix, out, outs, in, ins, to);
      break;
  }
  if (matrix.scales) apply_scales(matrix.scales, out, outs, in, ins, to);
}

std::vector<float> read_vector(const WeightVector& vector) {
  std::vector<float> values(vector ? vector.size : 0);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = read_float(vector.data, vector.dtype, static_cast<int64_t>(i) * vector.stride);
  return values;
}

}  // namespace moe
