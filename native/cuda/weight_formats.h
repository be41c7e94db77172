// The weight formats that a CUDA device holds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/capabilities.h"
#include "cuda/launch.h"

namespace moe::cuda {

// The kernels of one product, by how many rows an expert has.
struct GemmKernels {
  Kernel<GemmTask> few, several, tile;
};

// What the device does with a format.
struct CudaFormat {
  WeightType type;
  Kernel<RoundTask> round;  // makes rows what weights are multiplied with
  int planes;               // of 16 bits, of those rows
  // Puts the codes of a packet, [16] rows that begin `stride` codes apart, where the kernels read them.
  void (*put)(const std::byte* codes, int64_t stride, uint8_t* packet);
  GemmKernels up, down;
};

std::span<const CudaFormat> formats();
std::vector<HeldWeights> held_weights();

}  // namespace moe::cuda
