#include "addon/quantised_arguments.h"

#include <limits>

#include "core/weights/blocks.h"
#include "core/weights/integers.h"

namespace moe {
namespace {

constexpr int64_t kMaxStride = INT64_C(1) << 53;

int64_t blocks_of(int64_t features, int64_t block) { return (features + block - 1) / block; }

int64_t out_blocks(const WeightMatrix& matrix, const WeightScales& scales) {
  return blocks_of(matrix.first_out + matrix.out_features, scales.out_block);
}

int64_t in_blocks(const WeightMatrix& matrix, const WeightScales& scales) {
  return blocks_of(matrix.in_features, scales.in_block);
}

std::optional<Napi::Object> read_object(Napi::Object from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (value.IsUndefined()) return std::nullopt;
  if (!value.IsObject()) refuse(name, "an object");
  return value.As<Napi::Object>();
}

// It must be finite, or every weight would be lost.
float read_factor(Napi::Object from, const char* name) {
  if (from.Get(name).IsUndefined()) return 1;
  const auto factor = static_cast<float>(read_number(from, name));
  if (!(factor > 0 && factor <= std::numeric_limits<float>::max())) refuse(name, "a finite number above 0");
  return factor;
}

// Groups that are none of the matrix's would be read from elsewhere.
void expect_groups(const std::string& name, const WeightMatrix& matrix, const WeightScales& scales) {
  const int64_t groups = in_blocks(matrix, scales);
  for (int64_t i = 0; i < matrix.in_features; ++i)
    if (const int64_t group = group_of(scales, i); group < 0 || group >= groups)
      throw Error(ErrorCode::kCheckpoint, "Expected " + name + " to hold groups from 0 to " +
                                              std::to_string(groups - 1) + ", got " + std::to_string(group) +
                                              " at element " + std::to_string(i));
}

WeightScales read_scales(Napi::Object view, const WeightMatrix& matrix,
                         std::vector<std::shared_ptr<MappedFile>>& files) {
  const Borrowed memory = read_source(view, files);
  WeightScales scales{.data = memory.data,
                      .dtype = read_stored_type(view, "dtype"),
                      .out_block = read_integer(view, "outBlock", 1, kMaxSize),
                      .in_block = read_integer(view, "inBlock", 1, kMaxSize),
                      .out_stride = read_integer(view, "outStride", 0, kMaxStride),
                      .in_stride = read_integer(view, "inStride", 0, kMaxStride),
                      .factor = read_factor(view, "factor"),
                      .divisor = read_factor(view, "divisor")};
  if (is_integer(scales.dtype)) refuse("dtype", "a type of floats");
  const auto expect_scales = [&](const char* name, const Borrowed& from) {
    expect_inside(name, from, scales.dtype, out_blocks(matrix, scales), scales.out_stride, in_blocks(matrix, scales),
                  scales.in_stride);
  };
  expect_scales("scales", memory);
  if (!view.Get("name").IsUndefined()) scales.name = std::make_shared<const std::string>(read_text(view, "name"));
  if (const auto offsets = read_object(view, "offsets")) {
    const Borrowed from = read_source(*offsets, files);
    expect_scales("offsets", from);
    scales.offsets = from.data;
  }
  if (const auto groups = read_object(view, "groupOfInput")) {
    const Borrowed from = read_source(*groups, files);
    expect_inside("groupOfInput", from, DType::kFloat32, 1, 0, matrix.in_features, 1);  // as wide as int32
    scales.group_of_input = from.data;
    expect_groups(read_text(*groups, "name"), matrix, scales);
  }
  return scales;
}

WeightZeros read_zeros(Napi::Object view, const WeightMatrix& matrix, std::vector<std::shared_ptr<MappedFile>>& files) {
  const Borrowed memory = read_source(view, files);
  WeightZeros zeros{.data = memory.data,
                    .packing = read_packing(view),
                    .out_stride = read_integer(view, "outStride", 0, kMaxStride),
                    .in_stride = read_integer(view, "inStride", 0, kMaxStride),
                    .added = static_cast<int32_t>(read_integer(view, "added", 0, 1))};
  expect_packed_inside("zeros", memory, matrix.dtype, zeros.packing, out_blocks(matrix, matrix.scales),
                       zeros.out_stride, in_blocks(matrix, matrix.scales), zeros.in_stride);
  return zeros;
}

}  // namespace

const BlockType* read_block_type(Napi::Object view) {
  const std::string name = read_text(view, "dtype");
  for (const BlockType& type : block_types())
    if (name == type.name) return &type;
  return nullptr;
}

void expect_blocks_inside(const char* name, const Borrowed& memory, const WeightMatrix& matrix) {
  const BlockType& type = *matrix.blocks;
  const auto blocks = [&](const char* size, int64_t elements) {
    if (elements % type.elements != 0)
      refuse(size, "a multiple of the " + std::to_string(type.elements) + " elements of a block of " + type.name);
    return elements / type.elements;
  };
  if (matrix.in_stride != 1) refuse("inStride", "1 with blocks");
  const int64_t row = blocks("inFeatures", matrix.in_features), step = blocks("outStride", matrix.out_stride);
  const __int128 last = static_cast<__int128>(matrix.first_out + matrix.out_features - 1) * step + row;
  if (last * type.bytes > static_cast<__int128>(memory.bytes))
    refuse(name, "inside its source of " + std::to_string(memory.bytes) + " bytes");
}

float read_block_factor(Napi::Object view, const BlockType* blocks) {
  if (!view.Get("factor").IsUndefined() && !(blocks && blocks->has_factor()))
    refuse("factor", "left out but with blocks of nvfp4");
  return read_factor(view, "factor");
}

Packing read_packing(Napi::Object view) {
  if (view.Get("packing").IsUndefined()) return Packing::kNone;
  return read_word<Packing>(
      view, "packing",
      {{"inputs", Packing::kInputs}, {"outputs", Packing::kOutputs}, {"outputs_of_awq", Packing::kOutputsOfAwq}});
}

void expect_packed_inside(const char* name, const Borrowed& memory, DType dtype, Packing packing, int64_t outs,
                          int64_t out_stride, int64_t ins, int64_t in_stride) {
  if (is_bit_stream(dtype)) {
    if (packing != Packing::kInputs || in_stride != 1)
      refuse("packing", "`inputs` side by side with integers of other than 4 and 8 bits");
    return expect_inside(name, memory, DType::kFloat32, outs, out_stride, blocks_of(ins * bits_of(dtype), 32), 1);
  }
  if (packing == Packing::kNone) return expect_inside(name, memory, dtype, outs, out_stride, ins, in_stride);
  if (!is_integer(dtype)) refuse("dtype", "a type of integers with `packing`");
  if (packing == Packing::kOutputsOfAwq && bits_of(dtype) != 4) refuse("dtype", "`uint4` with AWQ's `packing`");
  const bool of_inputs = packing == Packing::kInputs;
  const int64_t per_word = 32 / bits_of(dtype);
  expect_inside(name, memory, DType::kFloat32, of_inputs ? outs : blocks_of(outs, per_word), out_stride,
                of_inputs ? blocks_of(ins, per_word) : ins, in_stride);  // as wide as words
}

void read_quantisation(Napi::Object view, WeightMatrix& matrix, std::vector<std::shared_ptr<MappedFile>>& files) {
  if (const auto scales = read_object(view, "scales")) matrix.scales = read_scales(*scales, matrix, files);
  if (!is_integer(matrix.dtype)) return;
  if (!matrix.scales) refuse("scales", "given with integers");
  if (const auto zeros = read_object(view, "zeros")) matrix.zeros = read_zeros(*zeros, matrix, files);
  if (view.Get("zero").IsUndefined()) return;
  const auto zero = static_cast<int32_t>(read_integer(view, "zero", 0, 255));
  if (!matrix.zeros || are_zeros(matrix, zero)) matrix.zeros = {.all = zero};
}

}  // namespace moe
