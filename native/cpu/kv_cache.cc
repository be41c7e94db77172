#include "cpu/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/weights/float16.h"

namespace moe::cpu {
namespace {

static_assert(kKvTokens == kKvBlock && kKeys == kKeyBlock);

constexpr int64_t kAlign = 64;

int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }
int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

int64_t bytes_of(KvType type) { return type == KvType::kFloat32 ? 4 : type == KvType::kBFloat16 ? 2 : 1; }

}  // namespace

CpuKvCache::CpuKvCache(const AttentionSpec& spec, int64_t blocks)
    : type_(spec.type),
      values_in_keys_(spec.values_in_keys),
      kv_heads_(spec.kv_heads),
      key_size_(spec.key_size),
      value_size_(spec.value_size),
      number_bytes_(bytes_of(spec.type)),
      padded_value_(padded(spec.value_size)),
      value_stride_(values_in_keys_ ? padded(spec.key_size) : padded_value_) {
  const int64_t key_numbers = kKvTokens * (values_in_keys_ ? value_stride_ : key_size_);
  const int64_t value_numbers = values_in_keys_ ? 0 : kKvTokens * value_stride_;
  values_begin_ = aligned(key_numbers * number_bytes_);
  scales_begin_ = values_begin_ + aligned(value_numbers * number_bytes_);
  part_bytes_ = scales_begin_ + (type_ == KvType::kInt8 ? 2 * kKvTokens * static_cast<int64_t>(sizeof(float)) : 0);
  memory_ = AlignedBuffer(static_cast<size_t>(blocks * kv_heads_ * part_bytes_));
}

float CpuKvCache::write(void* to, int64_t first, int64_t step, const float* from, int64_t count) const {
  switch (type_) {
    case KvType::kFloat32:
      for (int64_t i = 0; i < count; ++i) static_cast<float*>(to)[first + i * step] = from[i];
      return 1;
    case KvType::kBFloat16:
      for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(to)[first + i * step] = to_bfloat16(from[i]);
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
    static_cast<int8_t*>(to)[first + i * step] =
        static_cast<int8_t>(scale > 0 ? std::clamp(std::nearbyintf(from[i] / scale), -kMost, kMost) : 0.0f);
  return scale;
}

void CpuKvCache::put(int64_t block, int32_t head, int64_t slot, const float* key, const float* value) {
  std::byte* const to = part(block, head);
  if (slot == 0) std::memset(to, 0, part_bytes_);
  auto* const scales = reinterpret_cast<float*>(to + scales_begin_);
  const float key_scale =
      values_in_keys_ ? write(to, slot * value_stride_, 1, key, key_size_) : write(to, slot, kKvTokens, key, key_size_);
  const float value_scale =
      values_in_keys_ ? 1 : write(to + values_begin_, slot * value_stride_, 1, value, value_size_);
  if (type_ != KvType::kInt8) return;
  scales[slot] = key_scale;
  scales[kKvTokens + slot] = value_scale;
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
  const std::byte* const from = part(block, head);
  const auto* const scales = type_ == KvType::kInt8 ? reinterpret_cast<const float*>(from + scales_begin_) : nullptr;
  if (values_in_keys_) return {from, from, scales, scales};
  return {from, from + values_begin_, scales, scales ? scales + kKvTokens : nullptr};
}

}  // namespace moe::cpu
