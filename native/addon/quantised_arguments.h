// What views of quantised matrices say beside where elements stand.
#pragma once
#include "addon/arguments.h"

namespace moe {

// The type of blocks that `dtype` names, or null.
const BlockType* read_block_type(Napi::Object view);

// Refuses rows that are no runs of whole blocks, and a last one outside `memory`.
void expect_blocks_inside(const char* name, const Borrowed& memory, const WeightMatrix& matrix);

// The factor of a matrix of blocks, which only some types have.
float read_block_factor(Napi::Object view, const BlockType* blocks);

// How elements stand in words; they do in none where it is undefined.
Packing read_packing(Napi::Object view);

// expect_inside, with strides that count words where there are some.
void expect_packed_inside(const char* name, const Borrowed& memory, DType dtype, Packing packing, int64_t outs,
                          int64_t out_stride, int64_t ins, int64_t in_stride);

// Adds the scales and zeros of a view, which integers must have, to its matrix.
void read_quantisation(Napi::Object view, WeightMatrix& matrix, std::vector<std::shared_ptr<MappedFile>>& files);

}  // namespace moe
