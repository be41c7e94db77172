// GGUF's block types: rows of weights as runs of blocks, each with its codes and factors. Layouts: ggml, ggml-common.h.
#pragma once
#include <cstdint>
#include <span>

#include "core/weights/grouped.h"

namespace moe {

struct BlockType {
  const char* name;  // as ggml spells it
  int32_t elements;  // of a block
  int32_t bytes;
  GroupedForm form;
  // One block's codes, [elements], and the factors of its groups.
  void (*split)(const uint8_t* block, uint8_t* codes, GroupFactors* factors);

  // Whether the scales' first level is the matrix's: `scales.factor`.
  bool has_factor() const { return form.scale == ScaleKind::kFloat32TimesE4M3; }
  int32_t groups() const { return elements / form.group; }
};

std::span<const BlockType> block_types();

// The codes and factors of a block that stands in a matrix. Throws kCheckpoint where one is not a finite number.
void split_block(const WeightMatrix& matrix, const uint8_t* block, uint8_t* codes, GroupFactors* factors);

// The first block of an output feature.
inline const uint8_t* block_row(const WeightMatrix& matrix, int64_t out) {
  return static_cast<const uint8_t*>(matrix.data) +
         (matrix.first_out + out) * matrix.out_stride / matrix.blocks->elements * matrix.blocks->bytes;
}

// Elements (out + o, in + i) of a matrix of blocks, as read_block has them.
void read_blocks(const WeightMatrix& matrix, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to);

}  // namespace moe
