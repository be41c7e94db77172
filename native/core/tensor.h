// Borrowed arrays: device matrices, and host weights as checkpoints store them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moe {

// How numbers are stored. Batches, vectors and the router are of the first three; experts may be of all but the last,
// which is for scales: a power of two.
enum class DType : uint8_t { kFloat32, kBFloat16, kFloat16, kFloat8E4M3, kFloat4E2M1, kFloat8E8M0 };

constexpr int64_t bits_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return 32;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 16;
    case DType::kFloat4E2M1:
      return 4;
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

// Blocks of a matrix that share a factor: element (o, i) is multiplied by the scale at index (first_out + o) /
// out_block * out_stride + i / in_block * in_stride.
struct WeightScales {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t out_block = 1;
  int64_t in_block = 1;
  int64_t out_stride = 0;
  int64_t in_stride = 0;
  int64_t first_out = 0;  // output features before those of the matrix, where it is a part of a larger one

  explicit operator bool() const { return data != nullptr; }
};

// One weight matrix in host memory, which is never owned. Element (o, i), output feature o and input feature i, is
// element o * out_stride + i * in_stride of `data`, so fused, transposed and interleaved checkpoints need no copy. Of
// 4-bit elements two share a byte, the first in its low half.
struct WeightMatrix {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t out_features = 0;
  int64_t in_features = 0;
  int64_t out_stride = 0;
  int64_t in_stride = 0;
  WeightScales scales{};

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
  std::optional<ExpertWeights> shared;  // always-on expert, gate and up [S, H], down [H, S]
  WeightMatrix shared_router;           // [1, H]: the shared output is scaled by sigmoid(router . x)
  std::optional<PackedWeights> packed;  // instead of everything above
};

}  // namespace moe
