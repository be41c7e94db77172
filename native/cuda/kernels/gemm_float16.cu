#include "cuda/kernels/gemm.cuh"

MOE_CUDA_DEFINE_GEMMS(float16, Float16Weights)
