// The shape of launches.
#pragma once
#include <cstddef>
#include <vector>

#include "cuda/weight_formats.h"

namespace moe::cuda {

// One way to do a product.
struct GemmShape {
  int height;         // rows of a tile at most
  int threads;        // of a block
  int column_blocks;  // of kPacketColumns features that a block of threads takes
  size_t shared_bytes;
};

GemmShape tile_shape(const CudaFormat& format);

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
