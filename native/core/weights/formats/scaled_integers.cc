// int8 and int4 as every machine can make them. The CPU has the same source for its instruction sets.
#include <cstdint>

#include "core/weights/float16.h"

namespace moe {
namespace {

constexpr int kLanes = 4;
#include "core/weights/formats/scaled_integers.h"

}  // namespace

void encode_int8(const float* weights, int64_t count, int64_t group, void* codes, void* scales) {
  scaled_integers::encode<scaled_integers::Int8>(weights, count, group, codes, scales);
}
void encode_int4(const float* weights, int64_t count, int64_t group, void* codes, void* scales) {
  scaled_integers::encode<scaled_integers::Int4>(weights, count, group, codes, scales);
}

void decode_integers(const void* codes, const void* scales, int64_t count, int64_t group, float* weights) {
  for (int64_t i = 0; i < count; ++i)
    weights[i] = static_cast<float>(static_cast<const int8_t*>(codes)[i]) *
                 from_bfloat16(static_cast<const uint16_t*>(scales)[group == 0 ? 0 : i / group]);
}

}  // namespace moe
