#include "cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/weight_format.h"
#include "core/weights/read_weights.h"
#include "cuda/weight_formats.h"

namespace moe::cuda {
namespace {

constexpr size_t kScalesBytes = kPacketColumns * sizeof(uint16_t);

// scales: [16], of the packet's inputs.
void put_scales(const uint16_t* scales, uint8_t* to) {
  for (int64_t g = 0; g < 8; ++g) {
    const uint16_t both[] = {scales[g], scales[g + 8]};
    std::memcpy(to + g * sizeof both, both, sizeof both);
  }
}

}  // namespace

size_t packet_bytes(WeightType type) {
  const WeightFormat& format = format_of(type);
  return kPacketColumns * kPacketDepth * format.bits / 8 + (format.has_groups() ? kScalesBytes : 0);
}

void pack_block(const PacketLayout& layout, const WeightMatrix& gate, const WeightMatrix& up, int64_t block,
                uint8_t* out) {
  const WeightFormat& format = format_of(layout.type);
  const int64_t depth = layout.padded_depth(), packets = layout.packets(), code = format.code_bytes();
  const int64_t group = layout.group == 0 ? depth : layout.group;
  std::vector<std::byte> codes(kPacketColumns * depth * code);
  std::vector<uint16_t> scales(kPacketColumns * packets), own(format.num_groups(layout.depth, layout.group));
  std::vector<float> values(kPacketColumns * layout.depth);
  const int64_t features = layout.columns_per_block(), first = block * features;
  const int64_t valid = std::clamp<int64_t>(layout.columns - first, 0, features);
  for (int64_t half = 0; valid > 0 && half < kPacketColumns / features; ++half) {
    const WeightMatrix& from = layout.gated && half == 0 ? gate : up;
    read_block(from, first, valid, 0, layout.depth, values.data());
    for (int64_t i = 0; i < valid; ++i) {
      const int64_t row = half * features + i;
      const float* const weights = values.data() + i * layout.depth;
      std::byte* const to = codes.data() + row * depth * code;
      if (from.importance && format.encode_weighted)
        format.encode_weighted(weights, from.importance, layout.depth, layout.group, to, own.data());
      else
        format.encode(weights, layout.depth, layout.group, to, own.data());
      for (int64_t packet = 0; !own.empty() && packet * kPacketDepth < layout.depth; ++packet)
        scales[packet * kPacketColumns + row] = own[packet * kPacketDepth / group];
    }
  }
  const auto put = find_format(formats(), layout.type).put;
  const size_t bytes = packet_bytes(layout.type);
  for (int64_t packet = 0; packet < packets; ++packet) {
    uint8_t* const to = out + packet * bytes;
    put(codes.data() + packet * kPacketDepth * code, depth, to);
    if (format.has_groups()) put_scales(scales.data() + packet * kPacketColumns, to + bytes - kScalesBytes);
  }
}

void pack_biases(const PacketLayout& layout, const WeightVector& gate, const WeightVector& up, float* out) {
  std::fill_n(out, layout.blocks() * kPacketColumns, 0.0f);
  const int64_t per_block = layout.columns_per_block();
  const auto put = [&](const WeightVector& vector, int64_t offset) {
    const std::vector<float> values = read_vector(vector);
    for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i)
      out[i / per_block * kPacketColumns + i % per_block + offset] = values[i];
  };
  if (layout.gated) put(gate, 0);
  put(up, layout.gated ? per_block : 0);
}

}  // namespace moe::cuda
