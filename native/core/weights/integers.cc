#include "core/weights/integers.h"

#include <array>
#include <vector>

namespace moe {
namespace {

// Where AWQ has each of eight output features in a word.
constexpr std::array<int64_t, 8> kPlacesOfAwq = {0, 4, 1, 5, 2, 6, 3, 7};

// The code at an index of elements that stand side by side; words are little-endian, so that elements in them do.
uint8_t code_at(const void* data, DType dtype, int64_t index) {
  const auto* const bytes = static_cast<const uint8_t*>(data);
  if (dtype == DType::kUInt4) return bytes[index >> 1] >> (index & 1) * 4 & 0xf;
  return dtype == DType::kInt8 ? bytes[index] ^ 0x80 : bytes[index];
}

// Calls each(i, index) with the index of the element of each of the inputs [in, in + ins).
template <class Each>
void for_each_index(const WeightMatrix& matrix, int64_t out, int64_t in, int64_t ins, const Each& each) {
  const int64_t per_word = 32 / bits_of(matrix.dtype), step = matrix.in_stride;
  switch (matrix.packing) {
    case Packing::kNone:
      for (int64_t i = 0; i < ins; ++i) each(i, out * matrix.out_stride + (in + i) * step);
      return;
    case Packing::kInputs: {
      // Both sizes are powers of two, and dividing by one that is not known would take longer than all else.
      const int64_t shift = per_word == 8 ? 3 : 2, row = out * matrix.out_stride;
      for (int64_t i = in; i < in + ins; ++i)
        each(i - in, ((row + (i >> shift) * step) << shift) + (i & (per_word - 1)));
      return;
    }
    case Packing::kOutputs:
    case Packing::kOutputsOfAwq: {
      const int64_t within = out % per_word, word = out / per_word * matrix.out_stride;
      const int64_t place = matrix.packing == Packing::kOutputs ? within : kPlacesOfAwq[within];
      for (int64_t i = 0; i < ins; ++i) each(i, (word + (in + i) * step) * per_word + place);
    }
  }
}

// Words are little-endian: their bits are those of their bytes, in order.
void read_bit_stream(const WeightMatrix& matrix, int64_t out, int64_t in, int64_t ins, uint8_t* to) {
  const int64_t bits = bits_of(matrix.dtype);
  const auto* const row = static_cast<const uint8_t*>(matrix.data) + out * matrix.out_stride * 4;
  for (int64_t i = 0; i < ins; ++i) {
    const int64_t bit = (in + i) * bits, shift = bit & 7;
    const uint8_t* const byte = row + (bit >> 3);
    const uint32_t both = byte[0] | (shift + bits > 8 ? byte[1] << 8 : 0);
    to[i] = static_cast<uint8_t>(both >> shift & ((1U << bits) - 1));
  }
}

}  // namespace

void read_codes(const WeightMatrix& matrix, int64_t out, int64_t in, int64_t ins, uint8_t* to) {
  if (is_bit_stream(matrix.dtype)) return read_bit_stream(matrix, matrix.first_out + out, in, ins, to);
  for_each_index(matrix, matrix.first_out + out, in, ins,
                 [&](int64_t i, int64_t index) { to[i] = code_at(matrix.data, matrix.dtype, index); });
}

int32_t zero_of(const WeightMatrix& matrix, int64_t out, int64_t group) {
  const WeightZeros& zeros = matrix.zeros;
  if (!zeros) return zeros.all + (matrix.dtype == DType::kInt8 ? 128 : 0);
  // Zeros stand as a matrix does whose features are the blocks of the scales.
  const WeightMatrix blocks{.data = zeros.data,
                            .dtype = matrix.dtype,
                            .out_stride = zeros.out_stride,
                            .in_stride = zeros.in_stride,
                            .packing = zeros.packing};
  uint8_t code = 0;
  read_codes(blocks, (matrix.first_out + out) / matrix.scales.out_block, group, 1, &code);
  return (code + zeros.added) & ((1 << bits_of(matrix.dtype)) - 1);
}

bool are_zeros(const WeightMatrix& matrix, int32_t zero) {
  const WeightScales& scales = matrix.scales;
  for (int64_t out = 0; out < matrix.out_features; out += scales.out_block)
    for (int64_t group = 0; group * scales.in_block < matrix.in_features; ++group)
      if (zero_of(matrix, out, group) != zero) return false;
  return true;
}

void read_integers(const WeightMatrix& matrix, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to) {
  std::vector<uint8_t> codes(ins);
  for (int64_t o = 0; o < outs; ++o, to += ins) {
    read_codes(matrix, out + o, in, ins, codes.data());
    for_each_group(matrix.scales, in, ins, [&](int64_t group, int64_t begin, int64_t end) {
      const int32_t zero = zero_of(matrix, out + o, group);
      for (int64_t i = begin; i < end; ++i) to[i] = static_cast<float>(codes[i] - zero);
    });
  }
}

}  // namespace moe
