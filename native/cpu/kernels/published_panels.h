// How codes and factors of published panels are read (PublishedForm, table.h).
#pragma once

// Where the numbers of codes come from: codes themselves, a table, float8; exact ones are without their zero before
// they are multiplied, by the second level first, or divided then by the first.
enum class Codes : uint8_t { kPlain, kTable, kExact, kExactTable, kDividedTable, kFloat8 };

// The codes of the rows that stand together, of one register's columns: quads[q] has rows 4 q to 4 q + 3, in bytes.
template <int Bits>
[[gnu::always_inline]] inline void read_codes(const char* words, Words (&quads)[published_rows(Bits) / kDotRows]) {
  constexpr int64_t kWordsBytes = kDotRows * kPanelColumns;
  if constexpr (Bits == 8) {
    quads[0] = load_words(words);
  } else if constexpr (Bits == 6) {
    Words others[3];
#pragma GCC unroll 3
    for (int w = 0; w < 3; ++w) {
      const Words all = load_words(words + w * kWordsBytes);
      quads[w] = all & all_words(0x3f3f3f3f);
      others[w] = all >> (6 - 2 * w);
    }
    const Words lower = or_masked(others[0] & all_words(0x03030303), others[1], all_words(0x0c0c0c0c));
    quads[3] = or_masked(lower, others[2], all_words(0x30303030));
  } else {
    constexpr int kNibbles = published_rows(Bits) / 8;
#pragma GCC unroll 4
    for (int w = 0; w < kNibbles; ++w) {
      const Words both = load_words(words + w * kWordsBytes);
      quads[2 * w] = nibbles_of<0>(both);
      quads[2 * w + 1] = nibbles_of<1>(both);
    }
    if constexpr (Bits == 5) {
      const Words others = load_words(words + kNibbles * kWordsBytes);
#pragma GCC unroll 8
      for (int q = 0; q < 2 * kNibbles; ++q)
        quads[q] = or_masked(quads[q], q < 4 ? others << (4 - q) : others >> (q - 4), all_words(0x10101010));
    }
  }
}

inline Vec widen_float8(Words bytes) {
  const Words sign = (bytes & all_words(0x80)) << 24, magnitude = bytes & all_words(0x7f);
  // Scaling by 2^120 moves the exponent range, subnormals included, onto float32's.
  const Vec scaled = reinterpret_cast<Vec>(magnitude << 20) * broadcast(0x1p120f);
  const Vec value = where_negative(broadcast(126) - to_floats(magnitude), broadcast(__builtin_nanf("")), scaled);
  return reinterpret_cast<Vec>(reinterpret_cast<Words>(value) | sign);
}

// 2^(byte - 127); 255 is NaN.
inline Vec widen_power(Words bytes) {
  const Vec exponent = to_floats(bytes), value = reinterpret_cast<Vec>(bytes << 23);
  const Vec finite = where_negative(exponent - broadcast(0.5f), broadcast(0x1p-127f), value);
  return where_negative(broadcast(254.5f) - exponent, broadcast(__builtin_nanf("")), finite);
}

constexpr int64_t factor_bytes(PublishedForm::Factor factor) {
  return factor == PublishedForm::kFloat32                                         ? 4
         : factor == PublishedForm::kBFloat16 || factor == PublishedForm::kFloat16 ? 2
                                                                                   : 1;
}

// Of the v-th register's columns, of one factor of every column.
inline Vec read_factor(PublishedForm::Factor factor, const char* from, int v) {
  const char* const at = from + v * kLanes * factor_bytes(factor);
  switch (factor) {
    case PublishedForm::kFloat32:
      return load(reinterpret_cast<const float*>(at));
    case PublishedForm::kBFloat16:
      return widen_bfloat16(reinterpret_cast<const uint16_t*>(at));
    case PublishedForm::kFloat16:
      return widen_float16(reinterpret_cast<const uint16_t*>(at));
    case PublishedForm::kPowerOfTwo:
      return widen_power(load_bytes(at));
    case PublishedForm::kSignedByte:
      return widen_int8(at);
    case PublishedForm::kFloat8:
      return widen_float8(load_bytes(at));
  }
  __builtin_unreachable();
}

// What the columns of a group have: a weight is fma((number - zero) * level, scale, offset), or what stands before the
// scale divided by it. Where nothing is exact first, level is 1 and zero is in the offset.
struct GroupNumbers {
  Vec scale[kPanelVectors], offset[kPanelVectors], zero[kPanelVectors], level[kPanelVectors];
};

inline const char* block_of(const PublishedForm& form, const char* panel, int64_t k) {
  return panel + k / kSuperRows * form.block_bytes;
}

constexpr PublishedForm::Factor first_level_of(PublishedForm::Factor factor) {
  return factor == PublishedForm::kFloat8 ? PublishedForm::kFloat32 : PublishedForm::kFloat16;
}

// The group of row k.
inline GroupNumbers read_group(const PublishedForm& form, const char* panel, int64_t k) {
  const char* const block = block_of(form, panel, k);
  const char* const at = block + form.first_bytes + k % kSuperRows / form.group * form.factor_bytes;
  const int64_t bytes = factor_bytes(form.factor) * kPanelColumns;
  const auto first = first_level_of(form.factor);
  const char* const offsets = at + bytes;
  const char* const zeros = offsets + (form.offsets ? bytes : 0);
  GroupNumbers numbers;
  for (int v = 0; v < kPanelVectors; ++v) {
    Vec &scale = numbers.scale[v], &offset = numbers.offset[v], &zero_of = numbers.zero[v];
    scale = read_factor(form.factor, at, v) * broadcast(form.times);
    numbers.level[v] = broadcast(1);
    const Vec of_super = form.two_levels ? read_factor(first, block, v) : broadcast(1);
    if (form.exact_first) {
      numbers.level[v] = scale;
      scale = of_super;
    } else if (form.two_levels) {
      scale = scale * of_super;
    }
    zero_of = form.zeros ? to_floats(load_bytes(zeros + v * kLanes)) : broadcast(form.zero);
    offset = broadcast(-0.0f);
    if (form.offsets) {
      offset = read_factor(form.factor, offsets, v);
      // Levels of offsets are negative: their product is subtracted, which zeros keep their sign by.
      if (form.two_levels)
        offset = (zero() - offset) * read_factor(first, block + form.first_bytes / 2, v) * broadcast(-1);
    } else if (!form.exact_first && (form.zeros || form.zero != 0)) {
      offset = zero() - zero_of * scale;
    }
  }
  return numbers;
}

// Scales of some groups of a block from one on, [groups][NR], or scales and offsets, [groups][2][NR]: what a number
// stands for is fma(number - shift, scale, offset).
using ReadFactors = void (*)(const PublishedForm&, const char* block, int64_t group, int64_t groups, float shift,
                             float* factors);

template <PublishedForm::Factor Factor, bool Offsets>
void read_factors(const PublishedForm& form, const char* block, int64_t group, int64_t groups, float shift,
                  float* factors) {
  constexpr auto kFirst = first_level_of(Factor);
  constexpr bool kTwoLevels = Factor == PublishedForm::kFloat8 || Factor == PublishedForm::kSignedByte;
  constexpr int64_t kBytes = factor_bytes(Factor) * kPanelColumns;
  const Vec times = broadcast(form.times);
  Vec first[kPanelVectors], first_offset[kPanelVectors];
  for (int v = 0; v < kPanelVectors; ++v) {
    first[v] = kTwoLevels ? read_factor(kFirst, block, v) : broadcast(1);
    first_offset[v] =
        kTwoLevels && Offsets && form.offsets ? read_factor(kFirst, block + form.first_bytes / 2, v) : broadcast(1);
  }
  const char* at = block + form.first_bytes + group * form.factor_bytes;
  for (const char* const end = at + groups * form.factor_bytes; at < end; at += form.factor_bytes) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      Vec scale = read_factor(Factor, at, v) * times;
      if constexpr (kTwoLevels) scale = form.divides ? scale / first[v] : scale * first[v];
      store(factors + v * kLanes, scale);
      if constexpr (Offsets) {
        Vec offset = broadcast(-0.0f);
        if (form.offsets) {
          offset = read_factor(Factor, at + kBytes, v);
          if (kTwoLevels) offset = (zero() - offset) * first_offset[v] * broadcast(-1);
        } else if (form.zeros) {
          offset = zero() - to_floats(load_bytes(at + kBytes + v * kLanes)) * scale;
        } else if (form.zero != 0) {
          offset = zero() - broadcast(form.zero) * scale;
        }
        store(factors + kPanelColumns + v * kLanes, shift == 0 ? offset : fma(broadcast(shift), scale, offset));
      }
    }
    factors += (Offsets ? 2 : 1) * kPanelColumns;
  }
}

template <PublishedForm::Factor Factor>
ReadFactors read_factors_of(bool offsets) {
  return offsets ? read_factors<Factor, true> : read_factors<Factor, false>;
}

inline ReadFactors read_factors_of(const PublishedForm& form, bool offsets) {
  switch (form.factor) {
    case PublishedForm::kFloat32:
      return read_factors_of<PublishedForm::kFloat32>(offsets);
    case PublishedForm::kBFloat16:
      return read_factors_of<PublishedForm::kBFloat16>(offsets);
    case PublishedForm::kFloat16:
      return read_factors_of<PublishedForm::kFloat16>(offsets);
    case PublishedForm::kPowerOfTwo:
      return read_factors_of<PublishedForm::kPowerOfTwo>(offsets);
    case PublishedForm::kSignedByte:
      return read_factors_of<PublishedForm::kSignedByte>(offsets);
    case PublishedForm::kFloat8:
      return read_factors_of<PublishedForm::kFloat8>(offsets);
  }
  __builtin_unreachable();
}

constexpr int64_t kLeastPublishedGroup = 16;
// Scales and offsets of a block's groups.
constexpr int64_t kBlockFactors = kSuperRows / kLeastPublishedGroup * 2 * kPanelColumns;

// Walks through P panels, `stride` bytes apart, which come from memory, and reads the factors of a block at once.
// each(k, rows, codes, factors): of the group of row k in the first panel; the next panel's factors stand kBlockFactors
// further.
template <int P, class Each>
[[gnu::always_inline]] inline void walk_groups(const PublishedForm& form, bool offsets, float shift, const char* panels,
                                               int64_t stride, int64_t depth, Each each) {
  const ReadFactors read_factors = read_factors_of(form, offsets);
  const int64_t width = (offsets ? 2 : 1) * kPanelColumns;
  float factors[P * kBlockFactors];
  for (int64_t k = 0; k < depth; k += kSuperRows, panels += form.block_bytes) {
    const int64_t rows = depth - k < kSuperRows ? depth - k : kSuperRows, begin = form.codes_of(k);
    fetch_scales<P>(panels, stride, begin);
    for (int p = 0; p < P; ++p)
      read_factors(form, panels + p * stride, 0, (rows + form.group - 1) / form.group, shift,
                   factors + p * kBlockFactors);
    const char* codes = panels + begin;
    const float* factors_at = factors;
    for (int64_t row = 0; row < rows; row += form.group) {
      each(k + row, rows - row < form.group ? rows - row : form.group, codes, factors_at);
      codes += form.group_bytes;
      factors_at += width;
    }
  }
}
