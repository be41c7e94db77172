#include "cuda/kernels/gemm.cuh"

MOE_CUDA_DEFINE_GEMMS(bfloat16, BFloat16Weights)
