// Every kernel and what it takes: X(name, Task).
#pragma once

#define MOE_CUDA_GEMM_KERNELS(X, type) \
  X(moe_up_tile_##type, GemmTask)      \
  X(moe_down_tile_##type, GemmTask)    \
  X(moe_up_few_##type, GemmTask)       \
  X(moe_down_few_##type, GemmTask)     \
  X(moe_up_several_##type, GemmTask)   \
  X(moe_down_several_##type, GemmTask)

#define MOE_CUDA_KERNELS(X)           \
  X(moe_router_few, RouterTask)       \
  X(moe_router_wide, RouterTask)      \
  X(moe_router_many, RouterTask)      \
  X(moe_choose_v1, ChooseTask)        \
  X(moe_choose_v2, ChooseTask)        \
  X(moe_choose_only, OnlyExpertTask)  \
  X(moe_place_v1, PlaceTask)          \
  X(moe_place_v2, PlaceTask)          \
  X(moe_sum_scores_v1, LossTask)      \
  X(moe_sum_scores_v2, LossTask)      \
  X(moe_total_v1, LossTask)           \
  X(moe_total_v2, LossTask)           \
  X(moe_plan_small, PlanTask)         \
  X(moe_plan_count, PlanTask)         \
  X(moe_plan_scan, PlanTask)          \
  X(moe_plan_place, PlanTask)         \
  X(moe_cut_tiles, TileTask)          \
  X(moe_round_bfloat16, RoundTask)    \
  X(moe_round_float16, RoundTask)     \
  X(moe_round_split, RoundTask)       \
  X(moe_combine, CombineTask)         \
  X(moe_scale_rows, ScaleTask)        \
  X(moe_move_rows, MoveTask)          \
  X(moe_add_identities, IdentityTask) \
  X(moe_weigh_rows, WeighTask)        \
  MOE_CUDA_GEMM_KERNELS(X, bfloat16)  \
  MOE_CUDA_GEMM_KERNELS(X, float16)   \
  MOE_CUDA_GEMM_KERNELS(X, float32)   \
  MOE_CUDA_GEMM_KERNELS(X, int8)      \
  MOE_CUDA_GEMM_KERNELS(X, int4)
