#include "cuda/kernel_shapes.h"

#include "cuda/weights.h"

namespace moe::cuda {
GemmShape tile_shape(const CudaFormat& format) {
  const size_t bytes = packet_bytes(format.type);
  const TileSizes sizes = tile_sizes(static_cast<int>(bytes));
  return {sizes.height, kTileThreads, kTileColumns / kPacketColumns,
          sizes.stages * sizes.packets *
              (static_cast<size_t>(format.planes) * sizes.height * kPacketDepth * 2 +
               kTileColumns / kPacketColumns * bytes)};
}

// Counts of every warp, [kPlanChunk / kWarp][E] of 16 bits.
size_t plan_shared_bytes(int experts) { return static_cast<size_t>(kPlanChunk / kWarp) * experts * sizeof(uint16_t); }

std::vector<KernelMemory> kernels_with_much_memory() {
  std::vector<KernelMemory> all;
  for (const CudaFormat& format : formats())
    for (const GemmKernels* kernels : {&format.up, &format.down})
      all.push_back({&kernels->tile.entry, tile_shape(format).shared_bytes});
  for (const auto* plan : {&kernels::moe_plan_small, &kernels::moe_plan_count, &kernels::moe_plan_place})
    all.push_back({&plan->entry, plan_shared_bytes(kMaxExperts)});
  all.push_back({&kernels::moe_router_few.entry, static_cast<size_t>(kRouterFew.shared_bytes())});
  return all;
}

}  // namespace moe::cuda
