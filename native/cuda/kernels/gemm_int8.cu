#include "cuda/kernels/gemm.cuh"

MOE_CUDA_DEFINE_GEMMS(int8, Int8Weights)
