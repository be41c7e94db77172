#include "cpu/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/weights/float16.h"

namespace moe::cpu {
namespace {

static_assert(kKvTokens == kKvBlock && kKeys == kKeyBlock);

int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }

}  // namespace

CpuKvCache::CpuKvCache(const AttentionSpec& spec, int64_t blocks)
    : type_(spec.type),
      values_in_keys_(spec.values_in_keys),
      kv_heads_(spec.kv_heads),
      key_size_(spec.key_size),
      value_size_(spec.value_size),
      padded_value_(padded(spec.value_size)),
      value_stride_(values_in_keys_ ? padded(spec.key_size) : padded_value_),
      keys_bytes_(kv_part_bytes(number(), kKvTokens * (values_in_keys_ ? value_stride_ : padded_key(key_size_)))),
      values_bytes_(values_in_keys_ ? 0 : kv_part_bytes(number(), kKvTokens * value_stride_)),
      memory_(static_cast<size_t>(blocks * kv_heads_ * (keys_bytes_ + values_bytes_))) {}

template <class PlaceOf>
float CpuKvCache::write(void* to, PlaceOf place_of, const float* from, int64_t count) const {
  switch (type_) {
    case KvType::kFloat32:
      for (int64_t i = 0; i < count; ++i) static_cast<float*>(to)[place_of(i)] = from[i];
      return 1;
    case KvType::kBFloat16:
      for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(to)[place_of(i)] = to_bfloat16(from[i]);
      return 1;
    case KvType::kInt8:
      break;
  }
  constexpr float kMost = 127;
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    // What is not finite makes the scale NaN, and so all that is read of this token.
    if (!std::isfinite(from[i])) return std::nanf("");
    largest = std::max(largest, std::fabs(from[i]));
  }
  const float scale = largest / kMost;
  for (int64_t i = 0; i < count; ++i)
    static_cast<int8_t*>(to)[place_of(i)] =
        static_cast<int8_t>(scale > 0 ? std::clamp(std::nearbyintf(from[i] / scale), -kMost, kMost) : 0.0f);
  return scale;
}

void CpuKvCache::put(int64_t block, int32_t head, int64_t slot, const float* key, const float* value) {
  if (slot == 0) {
    std::memset(keys(block, head), 0, keys_bytes_);
    std::memset(values(block, head), 0, values_bytes_);
  }
  const int64_t together = kKvWordBytes / kv_number_bytes(number()), before = kv_scales_bytes(number());
  const auto side_by_side = [&](int64_t i) { return slot * value_stride_ + i; };
  const auto of_keys = [&](int64_t i) { return (i / together * kKvTokens + slot) * together + i % together; };
  const auto of_values = [&](int64_t i) { return (slot / together * value_stride_ + i) * together + slot % together; };
  const auto put_into = [&](std::byte* part, auto place_of, const float* from, int64_t count) {
    const float scale = write(part + before, place_of, from, count);
    if (before > 0) reinterpret_cast<float*>(part)[slot] = scale;
  };
  if (values_in_keys_) return put_into(keys(block, head), side_by_side, key, key_size_);
  put_into(keys(block, head), of_keys, key, key_size_);
  put_into(values(block, head), of_values, value, value_size_);
}

KvNumber CpuKvCache::number() const {
  switch (type_) {
    case KvType::kFloat32:
      return KvNumber::kFloat32;
    case KvType::kBFloat16:
      return KvNumber::kBFloat16;
    case KvType::kInt8:
      break;
  }
  return KvNumber::kInt8;
}

CpuKvCache::Place CpuKvCache::place(int64_t block, int32_t head) const {
  const std::byte* const k = keys(block, head);
  const std::byte* const v = values_in_keys_ ? k : values(block, head);
  const int64_t before = kv_scales_bytes(number());
  const auto scales = [&](const std::byte* part) {
    return before > 0 ? reinterpret_cast<const float*>(part) : nullptr;
  };
  return {k + before, v + before, scales(k), scales(v)};
}

}  // namespace moe::cpu
