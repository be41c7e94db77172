// What a device packed before, part by part.
#pragma once
#include <cstdint>
#include <string>

#include "core/device.h"
#include "core/tensor.h"

namespace moe {

// Null where there is no part of the name.
const PackedPart* find_part(const PackedWeights& packed, const std::string& name);
// Throws kCheckpoint where there is none.
const PackedPart& get_part(const PackedWeights& packed, const std::string& name);
// A part of float32 values, where it stands; absent where there is no such part. Throws kCheckpoint where it is of
// another size.
WeightVector values_in(const PackedWeights& packed, const std::string& name, int64_t size);

// Throws kCheckpoint unless the device reads what was packed so, for a layer of this spec.
void expect_layout(Device& device, const LayerSpec& spec, const std::string& layout);

}  // namespace moe
