// Weights in the order the kernels read them.
#pragma once
#include <cstdint>

#include "core/tensor.h"
#include "cpu/aligned_buffer.h"
#include "cpu/kernels/table.h"

namespace moe::cpu {

// Some matrices of one shape (one per expert), each cut into panels of `panel_columns` output features:
// [matrices][panels][depth][panel_columns], the last panel padded with zeros. With a gate, the first half of a panel
// are features of the gate matrix and the second half the same features of the up matrix.
class PackedMatrices {
 public:
  // columns: output features of one matrix. Panels are uninitialised, biases zero. Throws kOutOfMemory.
  PackedMatrices(const Kernels& kernels, DType type, bool gated, int64_t matrices, int64_t columns, int64_t depth);

  // `gate` is read when there is one. Values are rounded to the type, to nearest even. Different panels may be packed
  // by different threads.
  void pack_panel(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up);
  void pack_bias(int64_t matrix, const WeightVector& gate, const WeightVector& up);

  DType type() const { return type_; }
  int64_t matrices() const { return matrices_; }
  int64_t columns() const { return columns_; }
  int64_t depth() const { return depth_; }
  int64_t num_panels() const { return num_panels_; }
  size_t panel_bytes() const { return depth_ * panel_columns_ * size_of(type_); }
  size_t bytes() const { return memory_.bytes(); }

  const void* panel(int64_t matrix, int64_t panel) const { return at(matrix, panel); }
  const float* bias(int64_t matrix, int64_t panel) const {
    return bias_ + (matrix * num_panels_ + panel) * panel_columns_;
  }

 private:
  // Where a column of a panel comes from; `feature` is beyond columns_ in the padding.
  struct Source {
    bool gate;
    int64_t feature;
  };
  Source source_of(int64_t panel, int64_t column) const;
  // Where kernels/weights.h looks for a column in a row of the panel.
  int64_t position_of(int64_t column) const;
  std::byte* at(int64_t matrix, int64_t panel) const {
    return memory_.data() + (matrix * num_panels_ + panel) * panel_bytes();
  }
  template <class To>
  void pack_panel_as(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up);

  DType type_;
  bool gated_;
  int64_t lanes_, panel_columns_;
  int64_t matrices_, columns_, depth_, num_panels_;
  AlignedBuffer memory_;
  float* bias_;
};

}  // namespace moe::cpu
