// The kernels of one weight type.
#pragma once
#include "cuda/kernels/few_gemm.cuh"
#include "cuda/kernels/tile_gemm.cuh"

#define MOE_CUDA_DEFINE_GEMM(name, threads, ...)                                                  \
  extern "C" __global__ void __launch_bounds__(threads, 2) name(const moe::cuda::GemmTask task) { \
    moe::cuda::__VA_ARGS__(task);                                                                 \
  }

#define MOE_CUDA_DEFINE_FEW(name, kUp, kColumns, Weights) \
  MOE_CUDA_DEFINE_GEMM(name, moe::cuda::kFewThreads,      \
                       few_gemm<moe::cuda::Weights, kUp, kColumns, moe::cuda::RoundedRow<moe::cuda::Weights>>)

#define MOE_CUDA_DEFINE_GEMMS(type, Weights)                                                                \
  MOE_CUDA_DEFINE_GEMM(moe_up_tile_##type, moe::cuda::kTileThreads, tile_gemm<moe::cuda::Weights, true>)    \
  MOE_CUDA_DEFINE_GEMM(moe_down_tile_##type, moe::cuda::kTileThreads, tile_gemm<moe::cuda::Weights, false>) \
  MOE_CUDA_DEFINE_GEMM(moe_up_few_##type, moe::cuda::kFewThreads, round_and_up<moe::cuda::Weights>)         \
  MOE_CUDA_DEFINE_FEW(moe_down_few_##type, false, 1, Weights)                                               \
  MOE_CUDA_DEFINE_FEW(moe_up_several_##type, true, 4, Weights)                                              \
  MOE_CUDA_DEFINE_FEW(moe_down_several_##type, false, 4, Weights)
