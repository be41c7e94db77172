// The warp-level instructions of a GEMM, one PTX instruction each.
#pragma once
#include <cstdint>

namespace moe::cuda {

// The 16 x 16 operand of a lane (four registers of two values) and the 16 x 8 one.
struct Wide {
  uint32_t x, y, z, w;
};
struct Narrow {
  uint32_t x, y;
};

// 16 bytes from global memory to shared memory at `shared` + offset. All addresses are multiples of 16.
template <int offset>
__device__ __forceinline__ void copy_async(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0+%2], [%1], 16;" ::"r"(shared), "l"(global), "n"(offset) : "memory");
}
// One float or four, zeros where `valid` is false.
template <int floats>
__device__ __forceinline__ void copy_floats(float* shared, const float* global, bool valid) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? floats * 4 : 0;
  if constexpr (floats == 4)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `pending` of the newest groups of this thread are under way.
template <int pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four 8 x 8 matrices of 16 bits: lane i gives the address, + offset, of row i % 8 of matrix i / 8. Each becomes one
// register of every lane.
template <int offset>
__device__ __forceinline__ Wide load_matrices(uint32_t shared) {
  Wide v;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4+%5];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(shared), "n"(offset)
               : "memory");
  return v;
}

// Weights are read once: they should not push rows out of L1.
__device__ __forceinline__ uint4 load_stream(const void* global) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(global));
  return v;
}
__device__ __forceinline__ uint2 load_stream8(const void* global) {
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(global));
  return v;
}
__device__ __forceinline__ uint32_t load_stream4(const void* global) {
  uint32_t v;
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(global));
  return v;
}

struct BFloat16Mma {
  static constexpr bool kFloat16 = false;
  static __device__ __forceinline__ void multiply(float (&d)[4], const Wide& a, const Narrow& b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
  }
};

struct Float16Mma {
  static constexpr bool kFloat16 = true;
  static __device__ __forceinline__ void multiply(float (&d)[4], const Wide& a, const Narrow& b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
  }
};

}  // namespace moe::cuda
