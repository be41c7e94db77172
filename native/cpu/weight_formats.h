// The weight formats that the CPU holds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/capabilities.h"
#include "cpu/kernels/table.h"

namespace moe::cpu {

// With one scale for a whole output feature, so many rows of a panel stand behind a copy of it.
constexpr int64_t kRowsPerFeatureScale = 128;

// How rows of weights stand in a panel, and so which kernels read them.
struct PanelLayout {
  Panel panel;
  bool paired;  // columns l and lanes + l of floats, or of scales, share a word
  // Puts `count` codes of a column, which are bytes, into rows that are zeros before. Null for floats.
  void (*put)(const Kernels& kernels, std::byte* rows, int64_t column, const int8_t* codes, int64_t count);
};

// Of a format that capabilities have.
const PanelLayout& layout_of(WeightType type, RowType rows);

std::vector<HeldWeights> held_weights();

}  // namespace moe::cpu
