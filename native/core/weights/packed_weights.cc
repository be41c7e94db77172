#include "core/weights/packed_weights.h"

#include <algorithm>

#include "core/error.h"
#include "core/moe_stages.h"

namespace moe {

const PackedPart* find_part(const PackedWeights& packed, const std::string& name) {
  const auto found = std::ranges::find(packed.parts, name, &PackedPart::name);
  return found == packed.parts.end() ? nullptr : &*found;
}

const PackedPart& get_part(const PackedWeights& packed, const std::string& name) {
  if (const PackedPart* const part = find_part(packed, name)) return *part;
  throw Error(ErrorCode::kCheckpoint, "Expected packed weights with the part `" + name + "`, got none of that name");
}

WeightVector values_in(const PackedWeights& packed, const std::string& name, int64_t size) {
  const PackedPart* const part = find_part(packed, name);
  if (!part) return {};
  const size_t expected = static_cast<size_t>(size) * sizeof(float);
  if (part->bytes != expected)
    throw Error(ErrorCode::kCheckpoint, "Expected the packed part `" + name + "` to have " + std::to_string(expected) +
                                            " bytes, got " + std::to_string(part->bytes));
  return {part->data, DType::kFloat32, size, 1};
}

void expect_layout(Device& device, const LayerSpec& spec, const std::string& layout) {
  if (!device.capabilities().packed_weights)
    throw Error(ErrorCode::kCheckpoint, "Expected weights that are not packed: this device packs them itself");
  const std::string expected = device.moe().packed_layout(spec);
  if (layout != expected)
    throw Error(ErrorCode::kCheckpoint, "Expected weights packed as `" + expected +
                                            "`, which this device reads, got `" + layout +
                                            "`: pack the checkpoint again here");
}

}  // namespace moe
