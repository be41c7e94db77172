// Weights in the order the kernels read them.
#pragma once
#include <algorithm>
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
  std::optional<GroupedForm> form;      // of kPublished
  std::vector<int32_t> group_of_input;  // of a form that is ordered
  bool published = false;               // kPublished was asked for, whatever it came to: a packed part says what

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

// How each of some matrices is held. Published ones as they are stored: quantised ones without loss, floats in their
// type, by rows of floats; what no panel holds in float32.
std::vector<HeldAs> held_as(const HeldAs& asked, std::span<const WeightMatrix* const> matrices);

// Some matrices of one shape (one per expert), each cut into panels of `panel_columns` output features:
// [matrices][panels][depth][panel_columns], the last panel padded with zeros. With a gate, the first half of a panel
// are features of the gate matrix and the second half the same features of the up matrix. Of integers, each group of
// rows of a panel stands behind its scales, [panel_columns] bfloat16; published panels are what cpu/published.h says,
// and each matrix may be held in its own way.
class PackedMatrices {
 public:
  // held: of each matrix. columns: output features of one. Panels are uninitialised, biases zero. Throws kOutOfMemory.
  PackedMatrices(const Kernels& kernels, std::span<const HeldAs> held, bool gated, int64_t columns, int64_t depth);

  // Matrices that were packed before, used where they are. Throws kCheckpoint when the part has another size, or does
  // not say how it holds them.
  PackedMatrices(const Kernels& kernels, const HeldAs& asked, bool gated, int64_t matrices, int64_t columns,
                 int64_t depth, const PackedPart& part);

  // From now on there are only these, numbered as they stand here. For matrices that were packed before.
  void hold(const std::vector<int32_t>& matrices);

  // `gate` is read when there is one. Values are rounded to the type, to nearest even, or quantised. Different panels
  // may be packed by different threads.
  void pack_panel(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up);
  void pack_bias(int64_t matrix, const WeightVector& gate, const WeightVector& up);

  const PanelKernels& kernels(int64_t matrix) const { return kernels_of(place_of(matrix)); }
  // How one matrix's panels stand; whether all stand so.
  Panel panels(int64_t matrix) const { return place_of(matrix).layout->panel; }
  bool have_panels(Panel panel) const {
    return std::ranges::all_of(places_, [panel](const Place& place) { return place.layout->panel == panel; });
  }
  RowType row_type(int64_t matrix) const { return place_of(matrix).held.row_type; }
  const PublishedForm* form(int64_t matrix) const {
    return place_of(matrix).held.form ? &place_of(matrix).published : nullptr;
  }
  // Of int8 rows, as in QuantizeTask.
  int32_t row_offset(int64_t matrix) const {
    const Place& place = place_of(matrix);
    return place.held.form ? place.published.row_offset : kernels_of(place).offset;
  }
  // Rows of a panel that stand behind one row of scales.
  int64_t group(int64_t matrix) const { return place_of(matrix).group; }
  int64_t matrices() const { return static_cast<int64_t>(held_.empty() ? places_.size() : held_.size()); }
  int64_t columns() const { return columns_; }
  int64_t depth() const { return depth_; }
  int64_t num_panels() const { return num_panels_; }
  size_t most_panel_bytes() const { return most_panel_bytes_; }
  // Of integer products; 0 where there are none.
  int64_t most_groups() const { return most_groups_; }
  size_t bytes() const;
  bool is_whole() const { return held_.empty(); }
  PackedPart part(std::string name) const { return {std::move(name), base_, bytes_}; }

  const void* panel(int64_t matrix, int64_t panel) const {
    const Place& place = place_of(matrix);
    return base_ + place.begin + panel * place.panel_bytes;
  }
  const float* bias(int64_t matrix, int64_t panel) const {
    return reinterpret_cast<const float*>(base_ + bias_begin_) +
           (stored(matrix) * num_panels_ + panel) * panel_columns_;
  }

 private:
  // How a matrix stands, and where.
  struct Place {
    HeldAs held;
    const WeightFormat* format;  // null: published
    const PanelLayout* layout;
    PublishedForm published;
    int64_t group;
    size_t panel_bytes, begin;
  };

  PackedMatrices(const Kernels& kernels, std::span<const HeldAs> held, bool gated, int64_t columns, int64_t depth,
                 const void* base);
  Place place(const HeldAs& held) const;
  const Place& place_of(int64_t matrix) const { return places_[stored(matrix)]; }
  const PanelKernels& kernels_of(const Place& place) const {
    return kernels_->panels[static_cast<size_t>(place.layout->panel)];
  }
  // Calls each(place, its groups of rows [depth], in bytes from the begin) where rows are scattered.
  template <class Each>
  void for_each_scattered(const Each& each);

  // Where a column of a panel comes from; `feature` is beyond columns_ in the padding.
  struct Source {
    bool gate;
    int64_t feature;
  };
  Source source_of(int64_t panel, int64_t column) const;
  // Where kernels/weights.h looks for a column in a row of a panel.
  int64_t position_of(const PanelLayout& layout, int64_t column) const;
  int64_t stored(int64_t matrix) const { return held_.empty() ? matrix : held_[matrix]; }
  template <class Code>
  void pack_floats(const Place& place, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up, std::byte* to);
  void pack_groups(const Place& place, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up, std::byte* to);
  void pack_published(const Place& place, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up,
                      std::byte* to);
  // Puts a column's codes and scales into a panel.
  void put_column(const Place& place, std::byte* panel, int64_t column, const int8_t* codes,
                  const uint16_t* scales) const;

  const Kernels* kernels_;
  bool gated_;
  int64_t lanes_, panel_columns_;
  int64_t columns_, depth_, num_panels_;
  std::vector<Place> places_;  // of each matrix
  size_t most_panel_bytes_ = 0;
  int64_t most_groups_ = 0;
  // The biases stand behind the panels, whose end may be read past; behind them groups of scattered rows, and how
  // published matrices are held.
  size_t bias_begin_ = 0, groups_begin_ = 0, bytes_ = 0;
  AlignedBuffer memory_;  // empty where the matrices were packed before
  const std::byte* base_;
  std::vector<int32_t> held_;  // empty: all
};

}  // namespace moe::cpu
