#include "cpu/published.h"

#include <algorithm>
#include <cstring>

namespace moe::cpu {
namespace {

constexpr int64_t kWordBytes = 4;
constexpr int32_t kHalfRange = 128;  // that numbers of eight bits lose where bytes are multiplied as signed ones
constexpr int64_t kGroups[] = {128, 64, 32, 16};

// Numbers of four bits, in bytes that are not negative, and what is subtracted from them.
struct Table {
  uint8_t numbers[16];
  float zero, times;
};
// Twice the numbers, which are integers then.
constexpr Table kFloat4 = {{12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0}, 12, 0.5f};
constexpr Table kIq4 = [] {
  Table table{{}, 128, 1};
  for (int i = 0; i < 16; ++i) table.numbers[i] = static_cast<uint8_t>(kIq4Numbers[i] + 128);
  return table;
}();

// What a factor takes of a group, and of a superblock.
struct FactorKind {
  ScaleKind kind;
  PublishedForm::Factor factor;
  int64_t bytes, super_bytes;
};
constexpr FactorKind kFactors[] = {
    {ScaleKind::kFloat32, PublishedForm::kFloat32, 4, 0},
    {ScaleKind::kBFloat16, PublishedForm::kBFloat16, 2, 0},
    {ScaleKind::kFloat16, PublishedForm::kFloat16, 2, 0},
    {ScaleKind::kFloat8E8M0, PublishedForm::kPowerOfTwo, 1, 0},
    {ScaleKind::kFloat16TimesInteger, PublishedForm::kSignedByte, 1, 2},
    {ScaleKind::kFloat32TimesE4M3, PublishedForm::kFloat8, 1, 4},
};

const FactorKind& factor_of(ScaleKind kind) {
  return *std::find_if(std::begin(kFactors), std::end(kFactors),
                       [&](const FactorKind& each) { return each.kind == kind; });
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows that share factors side by side: a group, or the largest part of it that kernels know, which has a copy of
// them. 0 where there is none.
int64_t rows_together(const GroupedForm& form) {
  if (form.ordered) return 0;
  for (const int64_t rows : kGroups)
    if (form.group % rows == 0 && rows % published_rows(form.bits) == 0) return rows;
  return 0;
}

bool is_from_table(const GroupedForm& form) {
  return form.codes == CodeKind::kFloat4E2M1 || form.codes == CodeKind::kIq4;
}

void put(std::byte* row, int64_t column, int64_t bytes, uint32_t bits) {
  std::memcpy(row + column * bytes, &bits, static_cast<size_t>(bytes));
}

void put_code(const PublishedForm& held, int64_t columns, std::byte* codes, int64_t column, int64_t row, uint8_t code) {
  const int64_t together = published_rows(held.bits), within = row % together;
  const int64_t word_bytes = kWordBytes * columns;
  std::byte* const chunk = codes + row / together * published_words(held.bits) * word_bytes + column * kWordBytes;
  const auto add = [&](int64_t word, int value) {
    chunk[word * word_bytes + row % 4] |= static_cast<std::byte>(value);
  };
  if (held.bits == 8) return add(0, code);
  if (held.bits == 6) {
    if (within < 12) return add(within / 4, code);
    for (int64_t word = 0; word < 3; ++word) add(word, (code >> 2 * word & 3) << 6);
    return;
  }
  add(within / 8, (code & 0xf) << within % 8 / 4 * 4);
  if (held.bits == 5) add(together / 8, code >> 4 << within / 4);
}

}  // namespace

bool can_hold(const GroupedForm& form) {
  if (form.codes == CodeKind::kFloat8E4M3 && (form.two_levels() || form.offsets)) return false;
  if (form.offsets && (form.zeros || form.zero != 0)) return false;
  if (form.divides && (form.codes != CodeKind::kFloat4E2M1 || form.scale != ScaleKind::kFloat32TimesE4M3)) return false;
  if (form.zero < 0 || form.zero > 255) return false;
  const bool whole_words = form.bits == 4 || form.bits == 8;
  const bool plain_scales = !form.two_levels() && form.scale != ScaleKind::kFloat8E8M0;
  return rows_together(form) > 0 || (whole_words && !is_from_table(form) && plain_scales);
}

bool has_dots(const GroupedForm& form) { return form.codes != CodeKind::kFloat8E4M3 && rows_together(form) > 0; }

PublishedForm published_form(const GroupedForm& form, const Kernels& kernels, int64_t depth) {
  const FactorKind& factor = factor_of(form.scale);
  PublishedForm held{};
  held.bits = form.bits;
  held.floats = form.codes == CodeKind::kFloat8E4M3;
  held.from_table = is_from_table(form);
  held.wide = form.bits == 8 || form.codes == CodeKind::kIq4;
  held.zero = static_cast<float>(form.zero);
  held.times = 1;
  if (held.from_table) {
    const Table& table = form.codes == CodeKind::kIq4 ? kIq4 : kFloat4;
    std::copy(std::begin(table.numbers), std::end(table.numbers), held.table);
    held.zero = table.zero;
    held.times = table.times;
  }
  held.factor = factor.factor;
  held.two_levels = factor.super_bytes > 0;
  held.offsets = form.offsets;
  held.zeros = form.zeros;
  held.divides = form.divides;
  held.scattered = rows_together(form) == 0;
  held.exact_first = held.scattered || form.scale == ScaleKind::kFloat32TimesE4M3 ||
                     (form.scale == ScaleKind::kFloat32 && (form.zeros || held.zero != 0 || form.offsets));
  held.group = held.scattered ? kSuperRows : rows_together(form);
  const int64_t together = published_rows(form.bits), columns = kernels.panel_columns;
  const auto codes_of = [&](int64_t rows) {
    return divide_up(rows, together) * published_words(form.bits) * kWordBytes * columns;
  };
  held.factor_bytes = ((form.offsets ? 2 : 1) * factor.bytes + (form.zeros ? 1 : 0)) * columns;
  held.first_bytes = (form.offsets ? 2 : 1) * factor.super_bytes * columns;
  held.group_bytes = codes_of(held.group);
  const auto begin_of = [&](int64_t rows) {
    return held.scattered ? form.groups(depth) * held.factor_bytes
                          : held.first_bytes + divide_up(rows, held.group) * held.factor_bytes;
  };
  const int64_t rest = depth % kSuperRows;
  held.codes_begin = begin_of(kSuperRows);
  held.block_bytes = kSuperRows / held.group * held.group_bytes + (held.scattered ? 0 : held.codes_begin);
  held.last_block = depth - rest;
  held.last_begin = begin_of(rest);
  held.panel_bytes =
      depth / kSuperRows * held.block_bytes + codes_of(rest) + (rest > 0 || held.scattered ? held.last_begin : 0);
  const bool non_negative = kernels.panels[static_cast<size_t>(Panel::kInt8Dots)].offset > 0;
  held.row_offset =
      form.offsets || form.zeros ? -1 : static_cast<int32_t>(held.zero) - (held.wide && !non_negative ? kHalfRange : 0);
  return held;
}

void put_published(const GroupedForm& form, const PublishedForm& held, int64_t panel_columns, int64_t depth,
                   std::byte* panel, int64_t column, const uint8_t* codes, const GroupFactors* factors) {
  const FactorKind& kind = factor_of(form.scale);
  const int64_t row_bytes = kind.bytes * panel_columns, super_row = kind.super_bytes * panel_columns;
  const auto put_factors = [&](std::byte* at, const GroupFactors& factor) {
    const auto level_of = [&](uint32_t bits, int32_t level) {
      return held.two_levels ? static_cast<uint32_t>(level) : bits;
    };
    put(at, column, kind.bytes, level_of(factor.scale, factor.level));
    if (form.offsets) put(at + row_bytes, column, kind.bytes, level_of(factor.offset, factor.offset_level));
    if (form.zeros) put(at + (form.offsets ? 2 : 1) * row_bytes, column, 1, static_cast<uint32_t>(factor.zero));
  };
  for (int64_t group = 0; held.scattered && group < form.groups(depth); ++group)
    put_factors(panel + group * held.factor_bytes, factors[group]);
  for (int64_t begin = 0; begin < depth; begin += held.group) {
    const GroupFactors& factor = factors[form.group == 0 ? 0 : begin / form.group];
    std::byte* const block = panel + begin / kSuperRows * held.block_bytes;
    const int64_t group = begin % kSuperRows / held.group;
    if (!held.scattered) put_factors(block + held.first_bytes + group * held.factor_bytes, factor);
    if (held.two_levels && group == 0) {
      put(block, column, kind.super_bytes, factor.scale);
      if (form.offsets) put(block + super_row, column, kind.super_bytes, factor.offset);
    }
    std::byte* const at = block + held.codes_of(begin) + group * held.group_bytes;
    const int64_t end = std::min(depth, begin + held.group);
    for (int64_t row = begin; row < end; ++row) put_code(held, panel_columns, at, column, row - begin, codes[row]);
  }
}

}  // namespace moe::cpu
