// Which kernels a weight type has, and the shape of their launches.
#pragma once
#include <cstddef>
#include <vector>

#include "core/config.h"
#include "cuda/launch.h"

namespace moe::cuda {

// The kernels of one product, by how many rows an expert has.
struct GemmKernels {
  Kernel<GemmTask> few, several, tile;
};

// One way to do a product.
struct GemmShape {
  int height;         // rows of a tile at most
  int threads;        // of a block
  int column_blocks;  // of kPacketColumns features that a block of threads takes
  size_t shared_bytes;
};

const GemmKernels& up_kernels(WeightType type);
const GemmKernels& down_kernels(WeightType type);
GemmShape tile_shape(WeightType type);

constexpr GemmShape kFewShape{8, 128, 4, 0};
constexpr GemmShape kSeveralShape{32, 128, 4, 0};

size_t plan_shared_bytes(int experts);

// A kernel that needs more dynamic shared memory than a block gets unasked.
struct KernelMemory {
  const KernelEntry* kernel;
  size_t shared_bytes;
};
std::vector<KernelMemory> kernels_with_much_memory();

}  // namespace moe::cuda
