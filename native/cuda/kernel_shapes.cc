#include "cuda/kernel_shapes.h"

#include "cuda/weights.h"

namespace moe::cuda {
namespace {

struct TypeKernels {
  GemmKernels up, down;
};

const TypeKernels& kernels_of(WeightType type) {
#define MOE_CUDA_TYPE(name)                                                                         \
  {                                                                                                 \
    {kernels::moe_up_few_##name, kernels::moe_up_several_##name, kernels::moe_up_tile_##name}, {    \
      kernels::moe_down_few_##name, kernels::moe_down_several_##name, kernels::moe_down_tile_##name \
    }                                                                                               \
  }
  // They stand in the order of WeightType.
  static const TypeKernels all[] = {MOE_CUDA_TYPE(float32), MOE_CUDA_TYPE(bfloat16), MOE_CUDA_TYPE(float16),
                                    MOE_CUDA_TYPE(int8), MOE_CUDA_TYPE(int4)};
#undef MOE_CUDA_TYPE
  return all[static_cast<size_t>(type)];
}

}  // namespace

const GemmKernels& up_kernels(WeightType type) { return kernels_of(type).up; }
const GemmKernels& down_kernels(WeightType type) { return kernels_of(type).down; }

GemmShape tile_shape(WeightType type) {
  const int planes = planes_of(type);
  const TileSizes sizes = tile_sizes(static_cast<int>(packet_bytes(type)));
  return {sizes.height, kTileThreads, kTileColumns / kPacketColumns,
          sizes.stages * sizes.packets *
              (static_cast<size_t>(planes) * sizes.height * kPacketDepth * 2 +
               kTileColumns / kPacketColumns * packet_bytes(type))};
}

// Counts of every warp, [kPlanChunk / kWarp][E] of 16 bits.
size_t plan_shared_bytes(int experts) { return static_cast<size_t>(kPlanChunk / kWarp) * experts * sizeof(uint16_t); }

std::vector<KernelMemory> kernels_with_much_memory() {
  std::vector<KernelMemory> all;
  for (const WeightType type :
       {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kFloat16, WeightType::kInt8, WeightType::kInt4})
    for (const GemmKernels* kernels : {&up_kernels(type), &down_kernels(type)})
      all.push_back({&kernels->tile.entry, tile_shape(type).shared_bytes});
  for (const auto* plan : {&kernels::moe_plan_small, &kernels::moe_plan_count, &kernels::moe_plan_place})
    all.push_back({&plan->entry, plan_shared_bytes(kMaxExperts)});
  all.push_back({&kernels::moe_router_few.entry, static_cast<size_t>(kRouterFew.shared_bytes())});
  return all;
}

}  // namespace moe::cuda
