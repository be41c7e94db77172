// Borrowed arrays: device matrices, and host weights as checkpoints store them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moe {

struct BlockType;

// How numbers are stored. Batches, vectors and the router are of the first three; experts may be of all but
// kFloat8E8M0, which is for scales: a power of two. Integers have scales beside them; kBlocks is any of
// core/weights/blocks.h.
enum class DType : uint8_t {
  kFloat32,
  kBFloat16,
  kFloat16,
  kFloat8E4M3,
  kFloat4E2M1,
  kFloat8E8M0,
  kInt8,
  kUInt8,
  kUInt4,
  kUInt2,
  kUInt3,
  kUInt5,
  kUInt6,
  kBlocks
};

constexpr int64_t bits_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return 32;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 16;
    case DType::kFloat4E2M1:
    case DType::kUInt4:
      return 4;
    case DType::kUInt2:
      return 2;
    case DType::kUInt3:
      return 3;
    case DType::kUInt5:
      return 5;
    case DType::kUInt6:
      return 6;
    default:
      return 8;
  }
}
constexpr size_t size_of(DType dtype) { return bits_of(dtype) / 8; }  // of whole bytes only

// A row-major matrix on a device, that someone else owns.
struct Matrix {
  void* data;
  DType dtype;
  int64_t rows;
  int64_t cols;

  float* floats() const { return static_cast<float*>(data); }
  size_t bytes() const { return static_cast<size_t>(rows * cols) * size_of(dtype); }
  // Rows [first, first + count).
  Matrix part(int64_t first, int64_t count) const {
    return {static_cast<std::byte*>(data) + static_cast<size_t>(first * cols) * size_of(dtype), dtype, count, cols};
  }
};

constexpr Matrix float_matrix(float* data, int64_t rows, int64_t cols) { return {data, DType::kFloat32, rows, cols}; }

// Blocks of a matrix that share a factor: those of element (o, i) share the scale at index o / out_block * out_stride +
// i / in_block * in_stride. The element is multiplied by it, and an offset is added where there are some; at last it is
// multiplied by `factor` and divided by `divisor`, of which one is 1.
struct WeightScales {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t out_block = 1;
  int64_t in_block = 1;
  int64_t out_stride = 0;
  int64_t in_stride = 0;
  const void* group_of_input = nullptr;  // int32 [in_features], of any alignment: what stands for i / in_block
  const void* offsets = nullptr;         // of the scales' type, placed as they are
  float factor = 1;
  float divisor = 1;
  std::shared_ptr<const std::string> name{};  // of the tensor, for messages

  explicit operator bool() const { return data != nullptr; }
};

// Integers may stand side by side in words of 32 bits, little-endian, the first in the lowest bits. Strides are in
// words then.
enum class Packing : uint8_t {
  kNone,
  kInputs,       // a word has the input features [n * k, n * k + n)
  kOutputs,      // the same of output features
  kOutputsOfAwq  // with output features 0, 2, 4, 6, 1, 3, 5, 7 of eight in this order
};

// What is subtracted from integers: of each block of the scales, at block (o / out_block, i / in_block) as a matrix has
// elements, or one for all.
struct WeightZeros {
  const void* data = nullptr;
  Packing packing = Packing::kNone;
  int64_t out_stride = 0;
  int64_t in_stride = 0;
  int32_t added = 0;  // stored ones are smaller by this, modulo what their bits can say
  int32_t all = 0;    // where there is no data

  explicit operator bool() const { return data != nullptr; }
};

// Which rows of a stored matrix are output features, where they are not all in order: of every `step` rows `count`,
// from `first` on. Paired ones stand as rotation pairs them in some files: feature j and j + count / 2 side by side.
struct RowOrder {
  int64_t count = 0;  // 0: all, in order
  int64_t step = 0;
  int64_t first = 0;
  bool paired = false;

  explicit operator bool() const { return count > 0; }
  int64_t row_of(int64_t out) const {
    const int64_t j = out % count, half = count / 2;
    const int64_t within = !paired ? j : j < half ? 2 * j : 2 * (j - half) + 1;
    return out / count * step + first + within;
  }
};

// One weight matrix in host memory, which is never owned. Element (o, i), output feature o and input feature i, is
// element (first_out + o) * out_stride + i * in_stride of `data`, so fused, transposed and interleaved checkpoints need
// no copy. Of 4-bit elements two share a byte, the first in its low half. Scales and zeros are found by first_out + o,
// too. Of the scales, blocks have the factor alone.
struct WeightMatrix {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t out_features = 0;
  int64_t in_features = 0;
  int64_t out_stride = 0;
  int64_t in_stride = 0;
  WeightScales scales{};
  Packing packing = Packing::kNone;
  WeightZeros zeros{};                // of integers, with their type
  const BlockType* blocks = nullptr;  // of kBlocks: rows are runs of them, out_stride is a multiple of one
  int64_t first_out = 0;              // output features before those of the matrix, where it is a part of a larger one
  RowOrder order{};                   // counts from first_out on
  const float* importance = nullptr;  // [in_features]: how much squared errors count, where some do more than others

  explicit operator bool() const { return data != nullptr; }
};

struct WeightVector {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t size = 0;
  int64_t stride = 1;

  explicit operator bool() const { return data != nullptr; }
};

// gate and up [I, H], down [H, I]; an expert without a gate has two matrices: down(act(up(x))).
struct ExpertWeights {
  WeightMatrix gate, up, down;
  WeightVector gate_bias, up_bias, down_bias;
};

// A stretch of a layer's packed weights.
struct PackedPart {
  std::string name;
  const void* data;
  size_t bytes;
};

// All weights of a layer as a device packed them, for the same kind of device to use in place.
struct PackedWeights {
  std::string layout;  // MoeStages::packed_layout of the device that packed them
  std::vector<PackedPart> parts;
  std::shared_ptr<const void> memory;  // keeps the parts where they are for as long as the layer lives
  std::vector<int32_t> experts;        // those of them that the layer holds, in order; empty: all
};

struct LayerWeights {
  WeightMatrix router;           // [R, H], R the experts with identities; absent when there is one
  WeightVector router_bias;      // [R], added to the logits
  WeightVector correction_bias;  // [R], added to the scores for the choice only
  WeightVector expert_scale;     // [E], multiplies the weights at last
  std::vector<ExpertWeights> experts;
  WeightMatrix latent_down, latent_up;  // [L, H] before the routed experts, [H, L] behind them; L: the latent size
  std::optional<ExpertWeights> shared;  // always-on expert, gate and up [S, H], down [H, S]
  WeightMatrix shared_router;           // [1, H]: the shared output is scaled by sigmoid(router . x)
  std::optional<PackedWeights> packed;  // instead of everything above
};

}  // namespace moe
