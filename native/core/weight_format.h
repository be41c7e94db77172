// What a weight format is: how experts' weights stand in the bits that `weightType` names. Each format is one object in
// core/weights/formats; what a device does with it is an entry in that device's own list.
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "core/config.h"
#include "core/error.h"
#include "core/tensor.h"

namespace moe {

// An output feature's weights are a code each. In formats with groups, some weights share a scale (or what else their
// codes are read with), and a code is a byte until a device packs it; in the others a code is a float of its own.
struct WeightFormat {
  WeightType type;
  const char* name;
  int32_t bits;                     // of a packed code
  std::optional<DType> dtype;       // of codes that are floats
  std::span<const int32_t> groups;  // what LayerSpec::weight_group may be, the default first; empty for floats
  int32_t scale_bytes;              // of what a group has beside its codes

  // `count` weights of an output feature, from float32 and back. codes: [count], code_bytes each; scales:
  // [num_groups(count, group)], scale_bytes each. The last group may be shorter.
  using Encode = void(const float* weights, int64_t count, int64_t group, void* codes, void* scales);
  using Decode = void(const void* codes, const void* scales, int64_t count, int64_t group, float* weights);
  // The same where errors count for more in some inputs: importance [count], 0 or more, is what their squares are
  // multiplied by.
  using EncodeWeighted = void(const float* weights, const float* importance, int64_t count, int64_t group, void* codes,
                              void* scales);
  Encode* encode;
  Decode* decode;
  EncodeWeighted* encode_weighted = nullptr;  // null: importance makes no difference

  bool has_groups() const { return !groups.empty(); }
  int64_t code_bytes() const { return std::max(bits, 8) / 8; }
  int64_t num_groups(int64_t count, int64_t group) const {
    return !has_groups() ? 0 : group == 0 ? 1 : (count + group - 1) / group;
  }
  // Of a packed output feature.
  int64_t row_bytes(int64_t count, int64_t group) const {
    return (count * bits + 7) / 8 + num_groups(count, group) * scale_bytes;
  }
};

std::span<const WeightFormat> weight_formats();

// The entry of a type in a list of formats, of the core's or of what a device does with each.
template <class Formats>
const auto& find_format(const Formats& formats, WeightType type) {
  for (const auto& format : formats)
    if (format.type == type) return format;
  throw Error(ErrorCode::kInternal, "Expected a weight type that is held");
}

// Of a type that has one format: not of kPublished.
inline const WeightFormat& format_of(WeightType type) { return find_format(weight_formats(), type); }

// The name of kPublished.
inline constexpr const char* kPublishedName = "published";
inline const char* name_of(WeightType type) {
  return type == WeightType::kPublished ? kPublishedName : format_of(type).name;
}

// In the order of RowType.
inline constexpr const char* kRowTypeNames[] = {"float", "bfloat16", "int8"};
inline const char* name_of(RowType type) { return kRowTypeNames[static_cast<size_t>(type)]; }

}  // namespace moe
