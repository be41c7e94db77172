#include "cuda/weight_formats.h"

#include <cstring>

#include "core/weight_format.h"

namespace moe::cuda {
namespace {

constexpr int64_t kLanes = 32;
constexpr int64_t kSteps = 2;  // multiplications per packet

// Calls put(lane, step, half, pair, from) for every pair of neighbouring inputs of a packet, which begin at the code
// `from`: half 0 is feature g, half 1 feature g + 8; pair 0 is the first of a lane's two pairs in a step.
template <class Put>
void for_each_pair(int64_t stride, const Put& put) {
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const int64_t g = lane / 4, t = lane % 4;
    for (int64_t step = 0; step < kSteps; ++step)
      for (int64_t pair = 0; pair < 2; ++pair)
        for (int64_t half = 0; half < 2; ++half)
          put(lane, step, half, pair, (g + 8 * half) * stride + 16 * step + 8 * pair + 2 * t);
  }
}

void put_32_bits(const std::byte* codes, int64_t stride, uint8_t* packet) {
  for_each_pair(stride, [&](int64_t lane, int64_t step, int64_t half, int64_t pair, int64_t from) {
    std::memcpy(packet + (((step * 2 + half) * kLanes + lane) * 4 + 2 * pair) * 4, codes + from * 4, 2 * 4);
  });
}

void put_16_bits(const std::byte* codes, int64_t stride, uint8_t* packet) {
  for_each_pair(stride, [&](int64_t lane, int64_t step, int64_t half, int64_t pair, int64_t from) {
    std::memcpy(packet + ((step * kLanes + lane) * 4 + 2 * half + pair) * 4, codes + from * 2, 2 * 2);
  });
}

// -128 to 127 as 0 to 255.
void put_int8(const std::byte* codes, int64_t stride, uint8_t* packet) {
  for_each_pair(stride, [&](int64_t lane, int64_t step, int64_t half, int64_t pair, int64_t from) {
    uint8_t* const to = packet + lane * 16 + (step * 2 + half) * 4 + 2 * pair;
    for (int64_t i = 0; i < 2; ++i) to[i] = static_cast<uint8_t>(codes[from + i]) ^ 0x80;
  });
}

// -8 to 7 as 0 to 15.
void put_int4(const std::byte* codes, int64_t stride, uint8_t* packet) {
  auto* const out = reinterpret_cast<uint32_t*>(packet);
  std::memset(packet, 0, kLanes * kSteps * sizeof(uint32_t));
  const auto nibble = [&](int64_t at) { return (static_cast<uint32_t>(codes[at]) & 0xf) ^ 8; };
  for_each_pair(stride, [&](int64_t lane, int64_t step, int64_t half, int64_t pair, int64_t from) {
    out[lane * kSteps + step] |= (nibble(from) | nibble(from + 1) << 16) << 4 * (2 * half + pair);
  });
}

}  // namespace

std::span<const CudaFormat> formats() {
  using namespace kernels;
#define MOE_CUDA_FORMAT(type, name, round, planes, put)                                         \
  CudaFormat {                                                                                  \
    type, round, planes, put, {moe_up_few_##name, moe_up_several_##name, moe_up_tile_##name}, { \
      moe_down_few_##name, moe_down_several_##name, moe_down_tile_##name                        \
    }                                                                                           \
  }
  static const CudaFormat all[] = {
      MOE_CUDA_FORMAT(WeightType::kFloat32, float32, moe_round_split, 3, put_32_bits),
      MOE_CUDA_FORMAT(WeightType::kBFloat16, bfloat16, moe_round_bfloat16, 1, put_16_bits),
      MOE_CUDA_FORMAT(WeightType::kFloat16, float16, moe_round_float16, 1, put_16_bits),
      MOE_CUDA_FORMAT(WeightType::kInt8, int8, moe_round_bfloat16, 1, put_int8),
      MOE_CUDA_FORMAT(WeightType::kInt4, int4, moe_round_bfloat16, 1, put_int4),
  };
#undef MOE_CUDA_FORMAT
  return all;
}

std::vector<HeldWeights> held_weights() {
  std::vector<HeldWeights> held;
  for (const CudaFormat& format : formats()) held.push_back({format.type, format_of(format.type).groups, kFloatRows});
  return held;
}

}  // namespace moe::cuda
