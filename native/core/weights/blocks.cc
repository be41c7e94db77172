#include "core/weights/blocks.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"

namespace moe {
namespace {

uint32_t half_at(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

// Byte j has element j in its low half and element j + count in its high one.
void read_halves(const uint8_t* bytes, int count, uint8_t* codes) {
  for (int j = 0; j < count; ++j) {
    codes[j] = bytes[j] & 0xf;
    codes[count + j] = bytes[j] >> 4;
  }
}

// 32 codes: float16 `d`, float16 `m` where there are offsets, a fifth bit of each where there are five, then the rest.
template <bool kOffsets, bool kFifthBit>
void split_small(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  factors[0] = {.scale = half_at(block)};
  if (kOffsets) factors[0].offset = half_at(block + 2);
  const uint8_t* at = block + (kOffsets ? 4 : 2);
  read_halves(at + (kFifthBit ? 4 : 0), 16, codes);
  if (kFifthBit)
    for (int i = 0; i < 32; ++i) codes[i] |= static_cast<uint8_t>((at[i / 8] >> i % 8 & 1) << 4);
}

// Signed bytes.
void split_q8_0(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  factors[0] = {.scale = half_at(block)};
  for (int i = 0; i < 32; ++i) codes[i] = block[2 + i] ^ 0x80;
}

// 128 elements in 32 bytes: element 32 s + j is bits 2 s and 2 s + 1 of byte j.
void read_pairs(const uint8_t* bytes, uint8_t* codes) {
  for (int s = 0; s < 4; ++s)
    for (int j = 0; j < 32; ++j) codes[32 * s + j] = bytes[j] >> 2 * s & 3;
}

// A further bit of 256 codes in 32 bytes: that of element 32 s + j is bit s of byte j.
void add_bits(const uint8_t* bytes, int place, uint8_t* codes) {
  for (int s = 0; s < 8; ++s)
    for (int j = 0; j < 32; ++j) codes[32 * s + j] |= static_cast<uint8_t>((bytes[j] >> s & 1) << place);
}

void split_q2_k(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  const uint8_t* const levels = block;
  for (int half = 0; half < 2; ++half) read_pairs(block + 16 + 32 * half, codes + 128 * half);
  for (int g = 0; g < 16; ++g)
    factors[g] = {.scale = half_at(block + 80),
                  .level = levels[g] & 0xf,
                  .offset = half_at(block + 82),
                  .offset_level = -(levels[g] >> 4)};
}

void split_q3_k(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  const uint8_t *const high = block, *const levels = block + 96;
  for (int half = 0; half < 2; ++half) read_pairs(block + 32 + 32 * half, codes + 128 * half);
  add_bits(high, 2, codes);
  for (int g = 0; g < 16; ++g) {
    const int low = levels[g % 8] >> g / 8 * 4 & 0xf, two = levels[8 + g % 4] >> g / 4 * 2 & 3;
    factors[g] = {.scale = half_at(block + 108), .level = (low | two << 4) - 32};
  }
}

// Eight scales and eight offsets of six bits.
void read_k_levels(const uint8_t* block, GroupFactors* factors) {
  const uint8_t* const sc = block + 4;
  for (int g = 0; g < 8; ++g) {
    const int scale = g < 4 ? sc[g] & 63 : (sc[g + 4] & 0xf) | sc[g - 4] >> 6 << 4;
    const int offset = g < 4 ? sc[g + 4] & 63 : sc[g + 4] >> 4 | sc[g] >> 6 << 4;
    factors[g] = {.scale = half_at(block), .level = scale, .offset = half_at(block + 2), .offset_level = -offset};
  }
}

void split_q4_k(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  read_k_levels(block, factors);
  for (int run = 0; run < 4; ++run) read_halves(block + 16 + 32 * run, 32, codes + 64 * run);
}

void split_q5_k(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  read_k_levels(block, factors);
  for (int run = 0; run < 4; ++run) read_halves(block + 48 + 32 * run, 32, codes + 64 * run);
  add_bits(block + 16, 4, codes);
}

void split_q6_k(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t *const low = block + 64 * half, *const high = block + 128 + 32 * half;
    read_halves(low, 64, codes + 128 * half);
    for (int s = 0; s < 4; ++s)
      for (int j = 0; j < 32; ++j) codes[128 * half + 32 * s + j] |= static_cast<uint8_t>((high[j] >> 2 * s & 3) << 4);
  }
  for (int g = 0; g < 16; ++g)
    factors[g] = {.scale = half_at(block + 208), .level = static_cast<int8_t>(block[192 + g])};
}

void split_iq4_xs(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  const uint32_t high = half_at(block + 2);
  for (int g = 0; g < 8; ++g) {
    const int low = block[4 + g / 2] >> g % 2 * 4 & 0xf;
    factors[g] = {.scale = half_at(block), .level = (low | static_cast<int>(high >> 2 * g & 3) << 4) - 32};
    read_halves(block + 8 + 16 * g, 16, codes + 32 * g);
  }
}

void split_mxfp4(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  factors[0] = {.scale = block[0]};
  read_halves(block + 1, 16, codes);
}

// Scales are float8 without a sign. What they are multiplied by is the matrix's.
void split_nvfp4(const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  for (int g = 0; g < 4; ++g) {
    factors[g] = {.level = block[g] & 0x7f};
    read_halves(block + 4 + 8 * g, 8, codes + 16 * g);
  }
}

constexpr auto kInteger = CodeKind::kInteger;
constexpr auto kFloat16 = ScaleKind::kFloat16, kTwoLevels = ScaleKind::kFloat16TimesInteger;

constexpr BlockType kTypes[] = {
    {"q4_0",
     32,
     18,
     {.codes = kInteger, .bits = 4, .group = 32, .scale = kFloat16, .zero = 8},
     split_small<false, false>},
    {"q4_1",
     32,
     20,
     {.codes = kInteger, .bits = 4, .group = 32, .scale = kFloat16, .offsets = true},
     split_small<true, false>},
    {"q5_0",
     32,
     22,
     {.codes = kInteger, .bits = 5, .group = 32, .scale = kFloat16, .zero = 16},
     split_small<false, true>},
    {"q5_1",
     32,
     24,
     {.codes = kInteger, .bits = 5, .group = 32, .scale = kFloat16, .offsets = true},
     split_small<true, true>},
    {"q8_0", 32, 34, {.codes = kInteger, .bits = 8, .group = 32, .scale = kFloat16, .zero = 128}, split_q8_0},
    {"q2_K", 256, 84, {.codes = kInteger, .bits = 4, .group = 16, .scale = kTwoLevels, .offsets = true}, split_q2_k},
    {"q3_K", 256, 110, {.codes = kInteger, .bits = 4, .group = 16, .scale = kTwoLevels, .zero = 4}, split_q3_k},
    {"q4_K", 256, 144, {.codes = kInteger, .bits = 4, .group = 32, .scale = kTwoLevels, .offsets = true}, split_q4_k},
    {"q5_K", 256, 176, {.codes = kInteger, .bits = 5, .group = 32, .scale = kTwoLevels, .offsets = true}, split_q5_k},
    {"q6_K", 256, 210, {.codes = kInteger, .bits = 6, .group = 16, .scale = kTwoLevels, .zero = 32}, split_q6_k},
    {"iq4_nl", 32, 18, {.codes = CodeKind::kIq4, .bits = 4, .group = 32, .scale = kFloat16}, split_small<false, false>},
    {"iq4_xs", 256, 136, {.codes = CodeKind::kIq4, .bits = 4, .group = 32, .scale = kTwoLevels}, split_iq4_xs},
    {"mxfp4",
     32,
     17,
     {.codes = CodeKind::kFloat4E2M1, .bits = 4, .group = 32, .scale = ScaleKind::kFloat8E8M0},
     split_mxfp4},
    {"nvfp4",
     64,
     36,
     {.codes = CodeKind::kFloat4E2M1, .bits = 4, .group = 16, .scale = ScaleKind::kFloat32TimesE4M3},
     split_nvfp4},
};

}  // namespace

std::span<const BlockType> block_types() { return kTypes; }

void split_block(const WeightMatrix& matrix, const uint8_t* block, uint8_t* codes, GroupFactors* factors) {
  const BlockType& type = *matrix.blocks;
  type.split(block, codes, factors);
  for (int32_t g = 0; g < type.groups(); ++g) {
    if (type.has_factor()) factors[g].scale = std::bit_cast<uint32_t>(matrix.scales.factor);
    if (is_finite(type.form, factors[g])) continue;
    const auto* const begin = static_cast<const uint8_t*>(matrix.data);
    throw Error(ErrorCode::kCheckpoint,
                "Expected the scales of " + (matrix.scales.name ? *matrix.scales.name : "quantised weights") +
                    " to be finite numbers, got another in block " + std::to_string((block - begin) / type.bytes));
  }
}

void read_blocks(const WeightMatrix& matrix, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to) {
  const BlockType& type = *matrix.blocks;
  std::vector<uint8_t> codes(type.elements);
  std::vector<GroupFactors> factors(type.groups());
  for (int64_t o = 0; o < outs; ++o) {
    const uint8_t* const row = block_row(matrix, out + o);
    for (int64_t i = in; i < in + ins;) {
      split_block(matrix, row + i / type.elements * type.bytes, codes.data(), factors.data());
      const int64_t begin = i / type.elements * type.elements, end = std::min(in + ins, begin + type.elements);
      for (int64_t next; i < end; to += next - i, i = next) {
        const int64_t group = (i - begin) / type.form.group;
        next = std::min(end, begin + (group + 1) * type.form.group);
        grouped_values(type.form, factors[group], codes.data() + (i - begin), next - i, to);
      }
    }
  }
}

}  // namespace moe
