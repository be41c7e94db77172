#include "cuda/kernels/gemm.cuh"

MOE_CUDA_DEFINE_GEMMS(int4, Int4Weights)
