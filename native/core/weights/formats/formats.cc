#include <cstring>

#include "core/weight_format.h"
#include "core/weights/float16.h"

namespace moe {

// Integers with scales: scaled_integers.cc.
WeightFormat::Encode encode_int8, encode_int4;
WeightFormat::Decode decode_integers;
WeightFormat::EncodeWeighted encode_int4_weighted;  // weighted_int4.cc

namespace {

float same(float value) { return value; }

// Rounds to nearest, ties to even.
template <class Bits, Bits (*kNarrow)(float)>
void encode_floats(const float* weights, int64_t count, int64_t, void* codes, void*) {
  for (int64_t i = 0; i < count; ++i) {
    const Bits bits = kNarrow(weights[i]);
    std::memcpy(static_cast<std::byte*>(codes) + i * static_cast<int64_t>(sizeof bits), &bits, sizeof bits);
  }
}

template <DType kType>
void decode_floats(const void* codes, const void*, int64_t count, int64_t, float* weights) {
  read_floats(codes, kType, 0, 1, count, weights);
}

constexpr int32_t kGroups[] = {32, 64, 128, 0};
constexpr std::span<const int32_t> kAnyGroup = kGroups, kPartOfFeature(kGroups, 3);
constexpr auto F32 = DType::kFloat32, BF16 = DType::kBFloat16, F16 = DType::kFloat16;

constexpr WeightFormat kFormats[] = {
    {WeightType::kFloat32, "float32", 32, F32, {}, 0, encode_floats<float, same>, decode_floats<F32>},
    {WeightType::kBFloat16, "bfloat16", 16, BF16, {}, 0, encode_floats<uint16_t, to_bfloat16>, decode_floats<BF16>},
    {WeightType::kFloat16, "float16", 16, F16, {}, 0, encode_floats<uint16_t, to_float16>, decode_floats<F16>},
    {WeightType::kInt8, "int8", 8, {}, kAnyGroup, 2, encode_int8, decode_integers},
    {WeightType::kInt4, "int4", 4, {}, kPartOfFeature, 2, encode_int4, decode_integers, encode_int4_weighted},
};

}  // namespace

std::span<const WeightFormat> weight_formats() { return kFormats; }

}  // namespace moe
