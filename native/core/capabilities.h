// What a device can do, said by itself: nobody else knows devices by name.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/config.h"

namespace moe {

// What most devices have.
inline constexpr RowType kFloatRows[] = {RowType::kFloat32};

// A way to hold experts' weights.
struct HeldWeights {
  WeightType type;
  std::span<const int32_t> groups;     // that LayerSpec::weight_group may be, the default first; none for floats
  std::span<const RowType> row_types;  // that LayerSpec::row_type may be beside it, kFloat32 first
};

struct Capabilities {
  std::vector<HeldWeights> weights;
  int32_t max_experts;  // of a layer; 0: any number
  bool host_memory;     // the host can read and write what `allocate` gives, as it is
  bool packed_weights;  // `packed_parts` has parts, which `prepare_experts` takes
};

// The device holds the spec's experts: throws kConfig, naming what it has, where it does not.
void expect_capable(const Capabilities& capabilities, const LayerSpec& spec);

}  // namespace moe
