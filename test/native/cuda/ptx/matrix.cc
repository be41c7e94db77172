// ldmatrix and mma.sync. Fragment layouts are those of the PTX ISA, "Matrix fragments for mma"; g = lane / 4 and
// t = lane % 4 below.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "cuda/ptx/block.h"
#include "cuda/ptx/half.h"
#include "cuda/ptx/handlers.h"
#include "cuda/ptx/traffic.h"

namespace moe::ptx {
namespace {

void require_whole_warp(const Warp& w) {
  if (w.executing != kAllLanes) throw Fault(FaultKind::kBarrier, "a matrix instruction without all 32 lanes");
}

// Lanes 8m to 8m+7 give the row addresses of the 8 x 8 matrix m. Instruction: a and offset the address, count matrices,
// vector results, negated: transposed.
void load_matrices(Warp& w, const Instruction& i) {
  require_whole_warp(w);
  Block& block = *w.block;
  uint32_t rows[kLanes] = {};
  bool known[kLanes] = {};
  constexpr uint32_t kRowBytes = 16;
  const uint32_t addresses = 8 * i.count;
  w.executing = addresses == 32 ? kAllLanes : (1u << addresses) - 1;
  require_known(w, i.a, "an address");
  w.executing = kAllLanes;
  for (uint32_t lane = 0; lane < addresses; ++lane) {
    const uint64_t base = i.mode == 8 ? w.reg<uint64_t>(i.a)[lane] : w.reg<uint32_t>(i.a)[lane];
    const uint64_t address = base + static_cast<uint64_t>(i.offset);
    if (address % kRowBytes != 0) throw Fault(FaultKind::kMisaligned, "a row of ldmatrix");
    block.shared.check_bounds(address, kRowBytes, "ldmatrix");
    rows[lane] = static_cast<uint32_t>(address);
    block.shared.read(w.index, SharedMemory::kWholeWarp, rows[lane], kRowBytes);
    known[lane] = block.shared.defined(rows[lane], kRowBytes);
  }
  uint32_t least = 0;
  block.counters.matrix_phases +=
      shared_phases(rows, addresses == 32 ? kAllLanes : (1u << addresses) - 1, kRowBytes, least);
  block.counters.least_matrix_phases += least;
  for (uint32_t matrix = 0; matrix < i.count; ++matrix) {
    uint32_t out[kLanes], lanes_known = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const uint32_t g = lane / 4, t = lane % 4;
      const auto element = [&](uint32_t row, uint32_t column) {
        uint16_t value;
        std::memcpy(&value, block.shared.at(rows[8 * matrix + row]) + 2 * column, 2);
        return value;
      };
      const auto is_known = [&](uint32_t row, uint32_t column) {
        return known[8 * matrix + row] || block.shared.defined(rows[8 * matrix + row] + 2 * column, 2);
      };
      if (i.negated) {
        out[lane] = element(2 * t, g) | uint32_t{element(2 * t + 1, g)} << 16;
        lanes_known |= uint32_t{is_known(2 * t, g) && is_known(2 * t + 1, g)} << lane;
      } else {
        out[lane] = element(g, 2 * t) | uint32_t{element(g, 2 * t + 1)} << 16;
        lanes_known |= uint32_t{is_known(g, 2 * t) && is_known(g, 2 * t + 1)} << lane;
      }
    }
    w.store(i.vector[matrix], out, lanes_known);
  }
}

void decode_ldmatrix(Decoder& d) {
  d.take_one_of({"sync"});
  d.take_one_of({"aligned"});
  d.take_one_of({"m8n8"});
  const std::string count = d.take_one_of({"x1", "x2", "x4"});
  Instruction& out = d.out();
  out.negated = d.take("trans");
  d.take_one_of({"shared", "shared::cta"});
  d.take_one_of({"b16"});
  out.count = static_cast<uint8_t>(count[1] - '0');
  const std::vector<std::string> results = d.vector(0);
  if (results.size() != out.count) d.refuse("a vector of another size");
  for (size_t i = 0; i < results.size(); ++i) out.vector[i] = d.destination(results[i], 4);
  d.memory(1, out.a, out.offset, 4);
  out.run = &load_matrices;
}

// The operands' elements: how many a register holds, and how one becomes a number.
struct Bfloat16 {
  using Number = float;
  static constexpr uint32_t kPerRegister = 2;
  static float get(uint32_t bits, uint32_t i) { return from_bfloat16(static_cast<uint16_t>(bits >> 16 * i)); }
};
struct Float16 {
  using Number = float;
  static constexpr uint32_t kPerRegister = 2;
  static float get(uint32_t bits, uint32_t i) { return from_float16(static_cast<uint16_t>(bits >> 16 * i)); }
};
struct TensorFloat32 {
  using Number = float;
  static constexpr uint32_t kPerRegister = 1;
  static float get(uint32_t bits, uint32_t) { return bits_as<float>(bits & ~0x1fffu); }  // the low 13 bits are ignored
};
struct Int8 {
  using Number = int32_t;
  static constexpr uint32_t kPerRegister = 4;
  static int32_t get(uint32_t bits, uint32_t i) { return static_cast<int8_t>(bits >> 8 * i); }
};
struct Uint8 {
  using Number = int32_t;
  static constexpr uint32_t kPerRegister = 4;
  static int32_t get(uint32_t bits, uint32_t i) { return static_cast<uint8_t>(bits >> 8 * i); }
};

// A tensor core adds some products and the sum so far at once: all are aligned to the largest, what lies below one bit
// beyond its 24 is cut off, and so is what does not fit the result (Fasi et al., "Numerical behavior of NVIDIA tensor
// cores", 2021). Eight products at a time is A100's way; the H100 takes more, and cuts off less often.
constexpr uint32_t kSummedAtOnce = 8;
constexpr int kBits = 24;

// That rule for one output, whatever its terms: float64 holds every product of two inputs exactly, subnormal ones
// included. Where a term is not finite neither is the sum.
float add_to_one(double sum, const float* left, const float (*right)[8], uint32_t column) {
  double terms[kSummedAtOnce + 1], plain = sum, largest = std::abs(sum);
  terms[kSummedAtOnce] = sum;
  for (uint32_t k = 0; k < kSummedAtOnce; ++k) {
    terms[k] = static_cast<double>(left[k]) * right[k][column];
    plain += terms[k];
    largest = std::max(largest, std::abs(terms[k]));
  }
  if (std::isnan(plain)) return bits_as<float>(0x7fffffffu);  // the device's NaN
  if (std::isinf(plain) || largest == 0) return static_cast<float>(plain + 0.0);
  const int unit = std::ilogb(largest) - kBits;
  double total = 0;
  for (const double term : terms) total += std::trunc(std::ldexp(term, -unit));
  if (total == 0) return 0;
  constexpr int kSmallestUnit = -149;  // of float32
  const int last = std::max(std::ilogb(total) + unit - (kBits - 1), kSmallestUnit);
  return static_cast<float>(std::ldexp(std::trunc(std::ldexp(total, unit - last)), last));
}

// The same for eight outputs at once, in float32 and int32, where the largest term is so large that what float32 lacks
// of a small product is cut off anyway. Other outputs are added one by one, so that none depends on its neighbours.
void add_products(float (&sums)[8], const float* left, const float (*right)[8]) {
  float terms[kSummedAtOnce + 1][8], before[8];
  for (uint32_t column = 0; column < 8; ++column) terms[kSummedAtOnce][column] = before[column] = sums[column];
  for (uint32_t k = 0; k < kSummedAtOnce; ++k)
    for (uint32_t column = 0; column < 8; ++column) terms[k][column] = left[k] * right[k][column];
  uint32_t largest[8] = {};
  for (const float(&term)[8] : terms)
    for (uint32_t column = 0; column < 8; ++column)
      largest[column] = std::max(largest[column], bits_as<uint32_t>(term[column]) & 0x7fffffff);
  constexpr uint32_t kLeast = 40, kMost = 254;  // exponents: below kLeast the scale would overflow
  uint32_t one_by_one[8], any = 0;
  float scale[8], unit[8];
  for (uint32_t column = 0; column < 8; ++column) {
    const uint32_t exponent = std::min(std::max(largest[column] >> 23, kLeast), kMost);
    one_by_one[column] = exponent ^ largest[column] >> 23;
    any |= one_by_one[column];
    scale[column] = bits_as<float>((2 * 127 + kBits - exponent) << 23);
    unit[column] = bits_as<float>((exponent - kBits) << 23);
  }
  if (any != 0) {
    uint32_t factors[8] = {};  // a product of 0 may be one that is too small
    for (uint32_t k = 0; k < kSummedAtOnce; ++k)
      for (uint32_t column = 0; column < 8; ++column)
        factors[column] |= uint32_t{left[k] != 0} & uint32_t{right[k][column] != 0};
    for (uint32_t column = 0; column < 8; ++column) {
      if ((largest[column] | factors[column]) == 0) one_by_one[column] = 0;
      if (one_by_one[column] != 0)
        for (float(&term)[8] : terms) term[column] = 0;
    }
  }
  int32_t total[8] = {};
  for (const float(&term)[8] : terms)
    for (uint32_t column = 0; column < 8; ++column) total[column] += static_cast<int32_t>(term[column] * scale[column]);
  for (uint32_t column = 0; column < 8; ++column) {
    const auto nearest = static_cast<float>(total[column]);
    const bool away = std::abs(static_cast<int32_t>(nearest)) > std::abs(total[column]);
    sums[column] = bits_as<float>(bits_as<uint32_t>(nearest) - uint32_t{away}) * unit[column];
  }
  if (any != 0)
    for (uint32_t column = 0; column < 8; ++column)
      if (one_by_one[column] != 0) sums[column] = add_to_one(before[column], left, right, column);
}

void add_products(int32_t (&sums)[8], const int32_t* left, const int32_t (*right)[8]) {
  for (uint32_t k = 0; k < kSummedAtOnce; ++k)
    for (uint32_t column = 0; column < 8; ++column) sums[column] += left[k] * right[k][column];
}

// D[16, 8] = A[16, K] B[K, 8] + C[16, 8]. A's registers cover, in order, the row blocks (g, g + 8) of the first K
// block, then those of the next; a K block is 4 * kPerRegister wide. vector: d 0..3, c 4..7, a from 8, b in the last
// two.
template <class Element, uint32_t kK>
void multiply(Warp& w, const Instruction& i) {
  require_whole_warp(w);
  using Number = typename Element::Number;
  constexpr uint32_t kPer = Element::kPerRegister, kBlock = 4 * kPer, kBlocks = kK / kBlock;
  alignas(32) Number a[16][kK], b[kK][8], c[16][8];
  uint32_t rows_unknown = 0, columns_unknown = 0;  // masks: a product with an unknown factor is unknown
  for (uint32_t block = 0; block < kBlocks; ++block) {
    for (uint32_t half = 0; half < 2; ++half) {
      const Unit unit = i.vector[8 + 2 * block + half];
      const uint32_t* const bits = w.reg<uint32_t>(unit);
      for (uint32_t g = 0; g < 8; ++g)
        for (uint32_t t = 0; t < 4; ++t)
          for (uint32_t e = 0; e < kPer; ++e)
            a[g + 8 * half][kBlock * block + kPer * t + e] = Element::get(bits[4 * g + t], e);
      for_each_lane(~w.known[unit], [&](uint32_t lane) { rows_unknown |= 1u << (lane / 4 + 8 * half); });
    }
    const Unit unit = i.vector[12 + block];
    const uint32_t* const bits = w.reg<uint32_t>(unit);
    for (uint32_t t = 0; t < 4; ++t)
      for (uint32_t e = 0; e < kPer; ++e)
        for (uint32_t g = 0; g < 8; ++g) b[kBlock * block + kPer * t + e][g] = Element::get(bits[4 * g + t], e);
    for_each_lane(~w.known[unit], [&](uint32_t lane) { columns_unknown |= 1u << lane / 4; });
  }
  for (uint32_t e = 0; e < 4; ++e) {
    const Number* const sums = w.reg<Number>(i.vector[4 + e]);
    for (uint32_t g = 0; g < 8; ++g)
      for (uint32_t t = 0; t < 4; ++t) c[g + 8 * (e / 2)][2 * t + e % 2] = sums[4 * g + t];
  }
  for (uint32_t row = 0; row < 16; ++row)
    for (uint32_t k = 0; k < kK; k += kSummedAtOnce) add_products(c[row], &a[row][k], &b[k]);
  uint32_t known[4];
  for (uint32_t e = 0; e < 4; ++e) known[e] = w.known[i.vector[4 + e]];
  if ((rows_unknown | columns_unknown) != 0)
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      for (uint32_t e = 0; e < 4; ++e)
        if ((rows_unknown >> (lane / 4 + 8 * (e / 2)) & 1) || (columns_unknown >> (2 * (lane % 4) + e % 2) & 1))
          known[e] &= ~(1u << lane);
  for (uint32_t e = 0; e < 4; ++e) {
    Number out[kLanes];
    for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = c[lane / 4 + 8 * (e / 2)][2 * (lane % 4) + e % 2];
    w.store(i.vector[e], out, known[e]);
  }
}

void decode_mma(Decoder& d) {
  d.take_one_of({"sync"});
  d.take_one_of({"aligned"});
  const std::string shape = d.take_one_of({"m16n8k8", "m16n8k16", "m16n8k32"});
  d.take_one_of({"row"});
  d.take_one_of({"col"});
  const Type result = d.take_type(), left = d.take_type(), right = d.take_type(), sum = d.take_type();
  Instruction& out = d.out();
  const bool floats = result == Type::kF32 && sum == Type::kF32 && left == right;
  const bool whole = result == Type::kS32 && sum == Type::kS32 && left == right;
  uint32_t a_registers = 4, b_registers = 2;
  if (floats && shape == "m16n8k16" && left == Type::kBF16)
    out.run = &multiply<Bfloat16, 16>;
  else if (floats && shape == "m16n8k16" && left == Type::kF16)
    out.run = &multiply<Float16, 16>;
  else if (floats && shape == "m16n8k8" && left == Type::kTF32)
    out.run = &multiply<TensorFloat32, 8>;
  else if (whole && shape == "m16n8k32" && left == Type::kS8)
    out.run = &multiply<Int8, 32>;
  else if (whole && shape == "m16n8k32" && left == Type::kU8)
    out.run = &multiply<Uint8, 32>;
  else if (floats && shape == "m16n8k8" && (left == Type::kBF16 || left == Type::kF16)) {
    out.run = left == Type::kBF16 ? &multiply<Bfloat16, 8> : &multiply<Float16, 8>;
    a_registers = 2;
    b_registers = 1;
  } else {
    d.refuse("no such matrix product");
  }
  const auto results = d.vector(0), a = d.vector(1), b = d.vector(2), c = d.vector(3);
  if (results.size() != 4 || c.size() != 4 || a.size() != a_registers || b.size() != b_registers)
    d.refuse("fragments of another size");
  for (size_t i = 0; i < 4; ++i) {
    out.vector[i] = d.destination(results[i], 4);
    out.vector[4 + i] = d.source(c[i], 4);
  }
  for (size_t i = 0; i < a.size(); ++i) out.vector[8 + i] = d.source(a[i], 4);
  for (size_t i = 0; i < b.size(); ++i) out.vector[12 + i] = d.source(b[i], 4);
  out.count = 4;
}

}  // namespace

const DecodeTable& matrix_decoders() {
  static const DecodeTable table = {{"ldmatrix", &decode_ldmatrix}, {"mma", &decode_mma}};
  return table;
}

}  // namespace moe::ptx
