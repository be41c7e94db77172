#include "cuda/kernels/gemm.cuh"

MOE_CUDA_DEFINE_GEMMS(float32, Float32Weights)
