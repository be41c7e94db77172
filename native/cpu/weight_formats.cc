#include "cpu/weight_formats.h"

#include <optional>

#include "core/weight_format.h"

namespace moe::cpu {
namespace {

constexpr int64_t kWordBytes = 4;

// Calls put(at, j, code) for the codes of a column. `together` of them, j from 0, stand at `at`, the next ones `step`
// bytes further; zeros stand behind the last.
template <class Put>
void for_each_code(std::byte* at, int64_t together, int64_t step, const int8_t* codes, int64_t count, const Put& put) {
  for (int64_t k = 0; k < count; k += together, at += step)
    for (int64_t j = 0; j < together; ++j) put(at, j, k + j < count ? codes[k + j] : int8_t{0});
}

void put_byte(std::byte* at, int64_t j, int8_t code) { at[j] = static_cast<std::byte>(code); }
void put_nibble(std::byte* at, int64_t nibble, int code) {
  at[nibble / 2] |= static_cast<std::byte>((code & 0xf) << nibble % 2 * 4);
}

void put_bytes(const Kernels& kernels, std::byte* rows, int64_t column, const int8_t* codes, int64_t count) {
  for_each_code(rows + column, 1, kernels.panel_columns, codes, count, put_byte);
}

// A nibble of a word by row and by register.
void put_nibbles(const Kernels& kernels, std::byte* rows, int64_t column, const int8_t* codes, int64_t count) {
  const int64_t lanes = kernels.lanes, registers = kernels.panel_columns / lanes, reg = column / lanes;
  for_each_code(rows + column % lanes * kWordBytes, 2 * kWordBytes / registers, lanes * kWordBytes, codes, count,
                [&](std::byte* at, int64_t j, int8_t code) { put_nibble(at, j * registers + reg, code); });
}

void put_dot_bytes(const Kernels& kernels, std::byte* rows, int64_t column, const int8_t* codes, int64_t count) {
  for_each_code(rows + column * kWordBytes, kWordBytes, kernels.panel_columns * kWordBytes, codes, count, put_byte);
}

// -8 to 7 as 0 to 15; two rows share a byte, four apart.
void put_dot_nibbles(const Kernels& kernels, std::byte* rows, int64_t column, const int8_t* codes, int64_t count) {
  for_each_code(rows + column * kWordBytes, 2 * kWordBytes, kernels.panel_columns * kWordBytes, codes, count,
                [](std::byte* at, int64_t j, int8_t code) { put_nibble(at, j % 4 * 2 + j / 4, code + 8); });
}

// What the CPU does with a format.
struct CpuFormat {
  WeightType type;
  PanelLayout panels;
  std::optional<PanelLayout> dots;  // where rows may be int8
};

constexpr CpuFormat kFormats[] = {
    {WeightType::kFloat32, {Panel::kFloat32, false, nullptr}, {}},
    {WeightType::kBFloat16, {Panel::kBFloat16, true, nullptr}, {}},
    {WeightType::kFloat16, {Panel::kFloat16, false, nullptr}, {}},
    {WeightType::kInt8, {Panel::kInt8, true, put_bytes}, {{Panel::kInt8Dots, true, put_dot_bytes}}},
    {WeightType::kInt4, {Panel::kInt4, true, put_nibbles}, {{Panel::kInt4Dots, true, put_dot_nibbles}}},
    {WeightType::kPublished, {Panel::kPublished, false, nullptr}, {{Panel::kPublishedDots, false, nullptr}}},
};

constexpr RowType kEveryRowType[] = {RowType::kFloat32, RowType::kBFloat16, RowType::kInt8};

}  // namespace

const PanelLayout& layout_of(WeightType type, RowType rows) {
  const CpuFormat& format = find_format(kFormats, type);
  return rows == RowType::kInt8 ? format.dots.value() : format.panels;
}

std::vector<HeldWeights> held_weights() {
  std::vector<HeldWeights> held;
  for (const CpuFormat& format : kFormats)
    held.push_back({format.type,
                    format.type == WeightType::kPublished ? std::span<const int32_t>{} : format_of(format.type).groups,
                    std::span(kEveryRowType).first(format.dots ? 3 : 2)});
  return held;
}

}  // namespace moe::cpu
