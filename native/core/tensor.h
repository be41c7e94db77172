// Borrowed arrays: device matrices, and host weights as checkpoints store them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace moe {

enum class DType : uint8_t { kFloat32, kBFloat16, kFloat16 };

constexpr size_t size_of(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

// A row-major float32 matrix that someone else owns. `data` lives on the backend's device.
struct Matrix {
  float* data;
  int64_t rows;
  int64_t cols;
};

// One weight matrix in host memory, which is never owned. Element (o, i), output feature o and input feature i, stands
// at data[o * out_stride + i * in_stride]; strides count elements, so fused, transposed and interleaved checkpoints
// need no copy.
struct WeightMatrix {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t out_features = 0;
  int64_t in_features = 0;
  int64_t out_stride = 0;
  int64_t in_stride = 0;

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

struct LayerWeights {
  WeightMatrix router;           // [E, H]; absent when there is one expert
  WeightVector router_bias;      // [E], added to the logits
  WeightVector correction_bias;  // [E], added to the scores for the choice only
  std::vector<ExpertWeights> experts;
  std::optional<ExpertWeights> shared;  // always-on expert, gate and up [S, H], down [H, S]
  WeightMatrix shared_router;           // [1, H]: the shared output is scaled by sigmoid(router . x)
};

}  // namespace moe
