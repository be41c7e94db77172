// Weights in the order the kernels read them.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/weight_format.h"
#include "core/weights/grouped.h"
#include "cpu/aligned_buffer.h"
#include "cpu/published.h"
#include "cpu/weight_formats.h"

namespace moe::cpu {

struct HeldAs {
  WeightType type = WeightType::kFloat32;
  int64_t group = 0;  // as LayerSpec::weight_group
  RowType row_type = RowType::kFloat32;
  std::optional<GroupedForm> form;  // of kPublished
  bool published = false;           // kPublished was asked for, whatever it came to: a packed part says what

  bool operator==(const HeldAs&) const = default;
};

// What a LayerSpec or a LinearSpec asks for.
template <class Spec>
HeldAs asked_by(const Spec& spec) {
  HeldAs asked;
  asked.type = spec.weight_type;
  asked.group = spec.weight_group;
  asked.row_type = spec.row_type;
  return asked;
}

// How some matrices are held together. Published ones as they are stored: quantised ones without loss, floats in their
// type, by rows of floats. Throws kCheckpoint where that is not one form for all of them, or none that can be held.
HeldAs held_as(HeldAs asked, std::span<const WeightMatrix* const> matrices);
// As a part that was packed before holds them. Throws kCheckpoint where it does not say how.
HeldAs held_as(HeldAs asked, const PackedPart& part);

// Some matrices of one shape (one per expert), each cut into panels of `panel_columns` output features:
// [matrices][panels][depth][panel_columns], the last panel padded with zeros. With a gate, the first half of a panel
// are features of the gate matrix and the second half the same features of the up matrix. Of integers, each group of
// rows of a panel stands behind its scales, [panel_columns] bfloat16; published panels are what cpu/published.h says.
class PackedMatrices {
 public:
  // columns: output features of one matrix. Panels are uninitialised, biases zero. Throws kOutOfMemory.
  PackedMatrices(const Kernels& kernels, HeldAs held, bool gated, int64_t matrices, int64_t columns, int64_t depth);

  // Matrices that were packed before, used where they are. Throws kCheckpoint when the part has another size.
  PackedMatrices(const Kernels& kernels, HeldAs asked, bool gated, int64_t matrices, int64_t columns, int64_t depth,
                 const PackedPart& part);

  // From now on there are only these, numbered as they stand here. For matrices that were packed before.
  void hold(const std::vector<int32_t>& matrices);

  // `gate` is read when there is one. Values are rounded to the type, to nearest even, or quantised. Different panels
  // may be packed by different threads.
  void pack_panel(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up);
  void pack_bias(int64_t matrix, const WeightVector& gate, const WeightVector& up);

  const PanelKernels& kernels() const { return kernels_->panels[static_cast<size_t>(layout_->panel)]; }
  Panel panels() const { return layout_->panel; }
  RowType row_type() const { return held_as_.row_type; }
  const PublishedForm* form() const { return held_as_.form ? &published_ : nullptr; }
  int64_t group() const { return group_; }  // rows of a panel that stand behind one row of scales
  int64_t matrices() const { return held_.empty() ? matrices_ : static_cast<int64_t>(held_.size()); }
  int64_t columns() const { return columns_; }
  int64_t depth() const { return depth_; }
  int64_t num_panels() const { return num_panels_; }
  size_t panel_bytes() const { return panel_bytes_; }
  size_t bytes() const { return held_.empty() ? bytes_ : held_.size() * (bytes_ / matrices_); }
  bool is_whole() const { return held_.empty(); }
  PackedPart part(std::string name) const { return {std::move(name), base_, bytes_}; }

  const void* panel(int64_t matrix, int64_t panel) const { return base_ + panel_at(stored(matrix), panel); }
  const float* bias(int64_t matrix, int64_t panel) const {
    return reinterpret_cast<const float*>(base_ + bias_begin_) +
           (stored(matrix) * num_panels_ + panel) * panel_columns_;
  }

 private:
  PackedMatrices(const Kernels& kernels, HeldAs held, bool gated, int64_t matrices, int64_t columns, int64_t depth,
                 const void* base);

  // Where a column of a panel comes from; `feature` is beyond columns_ in the padding.
  struct Source {
    bool gate;
    int64_t feature;
  };
  Source source_of(int64_t panel, int64_t column) const;
  // Where kernels/weights.h looks for a column in a row of the panel.
  int64_t position_of(int64_t column) const;
  int64_t stored(int64_t matrix) const { return held_.empty() ? matrix : held_[matrix]; }
  size_t panel_at(int64_t matrix, int64_t panel) const { return (matrix * num_panels_ + panel) * panel_bytes_; }
  std::byte* at(int64_t matrix, int64_t panel) { return memory_.data() + panel_at(matrix, panel); }
  template <class Code>
  void pack_floats(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up);
  void pack_groups(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up);
  // Bytes of `rows` rows of a panel, without scales.
  size_t bytes_of_rows(int64_t rows) const {
    return (rows + kernels().rows - 1) / kernels().rows * kernels().rows_bytes;
  }
  // Puts a column's codes and scales into a panel.
  void put_column(std::byte* panel, int64_t column, const int8_t* codes, const uint16_t* scales) const;

  void pack_published(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up);

  const Kernels* kernels_;
  HeldAs held_as_;
  const WeightFormat* format_;  // null: published
  const PanelLayout* layout_;
  PublishedForm published_{};
  bool gated_;
  bool scale_per_feature_;  // every group of an output feature has the same scale
  int64_t group_;
  int64_t lanes_, panel_columns_;
  int64_t matrices_, columns_, depth_, num_panels_;
  size_t panel_bytes_;
  size_t bias_begin_, bytes_;  // the biases stand behind the panels, whose end may be read past
  AlignedBuffer memory_;       // empty where the matrices were packed before
  const std::byte* base_;
  std::vector<int32_t> held_;  // empty: all
};

}  // namespace moe::cpu
