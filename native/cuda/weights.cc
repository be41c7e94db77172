#include "cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/weights/float16.h"
#include "core/weights/quantize.h"
#include "core/weights/read_weights.h"

namespace moe::cuda {
namespace {

constexpr int64_t kLanes = 32;
constexpr int64_t kSteps = 2;  // multiplications per packet
constexpr size_t kScalesBytes = kPacketColumns * sizeof(uint16_t);

// Where a block's features come from: the first `valid` of [first, first + count) of one matrix.
struct Source {
  const WeightMatrix* matrix;
  int64_t first, count, valid, row;  // row: of the block
};

template <class Visit>
void for_each_source(const PacketLayout& layout, const WeightMatrix& gate, const WeightMatrix& up, int64_t block,
                     const Visit& visit) {
  const int64_t count = layout.columns_per_block(), first = block * count;
  const int64_t valid = std::clamp<int64_t>(layout.columns - first, 0, count);
  if (layout.gated) visit(Source{&gate, first, count, valid, 0});
  visit(Source{&up, first, count, valid, layout.gated ? count : 0});
}

// Calls put(lane, step, half, pair, row, k) for every pair of neighbouring inputs k, k + 1 of a packet: half 0 is
// feature g, half 1 feature g + 8; pair 0 is the first of a lane's two pairs in a step.
template <class Put>
void for_each_pair(const Put& put) {
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const int64_t g = lane / 4, t = lane % 4;
    for (int64_t step = 0; step < kSteps; ++step)
      for (int64_t pair = 0; pair < 2; ++pair)
        for (int64_t half = 0; half < 2; ++half)
          put(lane, step, half, pair, g + 8 * half, 16 * step + 8 * pair + 2 * t);
  }
}

uint32_t two(uint32_t low, uint32_t high) { return low | high << 16; }

// values: [16][depth], float32.
void put_floats(WeightType type, const float* values, int64_t depth, uint8_t* packet) {
  if (type == WeightType::kFloat32) {
    auto* const out = reinterpret_cast<float*>(packet);
    for_each_pair([&](int64_t lane, int64_t step, int64_t half, int64_t pair, int64_t row, int64_t k) {
      std::memcpy(out + ((step * 2 + half) * kLanes + lane) * 4 + 2 * pair, values + row * depth + k,
                  2 * sizeof(float));
    });
    return;
  }
  auto* const out = reinterpret_cast<uint32_t*>(packet);
  const auto narrow = type == WeightType::kBFloat16 ? to_bfloat16 : to_float16;
  for_each_pair([&](int64_t lane, int64_t step, int64_t half, int64_t pair, int64_t row, int64_t k) {
    const float* const at = values + row * depth + k;
    out[(step * kLanes + lane) * 4 + 2 * half + pair] = two(narrow(at[0]), narrow(at[1]));
  });
}

// q: [16][depth].
void put_int8(const int8_t* q, int64_t depth, uint8_t* packet) {
  for_each_pair([&](int64_t lane, int64_t step, int64_t half, int64_t pair, int64_t row, int64_t k) {
    uint8_t* const to = packet + lane * 16 + (step * 2 + half) * 4 + 2 * pair;
    for (int64_t i = 0; i < 2; ++i) to[i] = static_cast<uint8_t>(q[row * depth + k + i] + 128);
  });
}

void put_int4(const int8_t* q, int64_t depth, uint8_t* packet) {
  auto* const out = reinterpret_cast<uint32_t*>(packet);
  std::memset(packet, 0, kLanes * kSteps * sizeof(uint32_t));
  for_each_pair([&](int64_t lane, int64_t step, int64_t half, int64_t pair, int64_t row, int64_t k) {
    const int8_t* const at = q + row * depth + k;
    const uint32_t both = two(static_cast<uint32_t>(at[0] + 8), static_cast<uint32_t>(at[1] + 8));
    out[lane * kSteps + step] |= both << 4 * (2 * half + pair);
  });
}

// scales: [16], of the packet's inputs.
void put_scales(const uint16_t* scales, uint8_t* to) {
  for (int64_t g = 0; g < 8; ++g) {
    const uint16_t both[] = {scales[g], scales[g + 8]};
    std::memcpy(to + g * sizeof both, both, sizeof both);
  }
}

void pack_quantized(const PacketLayout& layout, const WeightMatrix& gate, const WeightMatrix& up, int64_t block,
                    uint8_t* out) {
  const int64_t depth = layout.padded_depth(), packets = layout.packets();
  const int64_t group = layout.group == 0 ? depth : layout.group;
  std::vector<int8_t> q(kPacketColumns * depth, 0);
  std::vector<uint16_t> scales(kPacketColumns * packets, 0), own((layout.depth + group - 1) / group);
  std::vector<float> values(layout.depth);
  for_each_source(layout, gate, up, block, [&](const Source& source) {
    for (int64_t i = 0; i < source.valid; ++i) {
      const int64_t row = source.row + i;
      read_block(*source.matrix, source.first + i, 1, 0, layout.depth, values.data());
      quantize(layout.type, values.data(), layout.depth, layout.group, q.data() + row * depth, own.data());
      for (int64_t packet = 0; packet < packets; ++packet)
        if (packet * kPacketDepth < layout.depth)
          scales[packet * kPacketColumns + row] = own[packet * kPacketDepth / group];
    }
  });
  const size_t bytes = packet_bytes(layout.type);
  for (int64_t packet = 0; packet < packets; ++packet) {
    uint8_t* const to = out + packet * bytes;
    if (layout.type == WeightType::kInt8)
      put_int8(q.data() + packet * kPacketDepth, depth, to);
    else
      put_int4(q.data() + packet * kPacketDepth, depth, to);
    put_scales(scales.data() + packet * kPacketColumns, to + bytes - kScalesBytes);
  }
}

}  // namespace

size_t packet_bytes(WeightType type) {
  constexpr size_t kValues = kPacketColumns * kPacketDepth;
  switch (type) {
    case WeightType::kFloat32:
      return kValues * 4;
    case WeightType::kBFloat16:
    case WeightType::kFloat16:
      return kValues * 2;
    case WeightType::kInt8:
      return kValues + kScalesBytes;
    case WeightType::kInt4:
      return kValues / 2 + kScalesBytes;
  }
  throw Error(ErrorCode::kInternal, "Expected a known weight type");
}

int planes_of(WeightType type) { return type == WeightType::kFloat32 ? 3 : 1; }

void pack_block(const PacketLayout& layout, const WeightMatrix& gate, const WeightMatrix& up, int64_t block,
                uint8_t* out) {
  if (is_quantized(layout.type)) return pack_quantized(layout, gate, up, block, out);
  const int64_t depth = layout.padded_depth();
  std::vector<float> values(kPacketColumns * depth, 0.0f), read(layout.columns_per_block() * layout.depth);
  for_each_source(layout, gate, up, block, [&](const Source& source) {
    if (source.valid == 0) return;
    read_block(*source.matrix, source.first, source.valid, 0, layout.depth, read.data());
    for (int64_t i = 0; i < source.valid; ++i)
      std::copy_n(read.data() + i * layout.depth, layout.depth, values.data() + (source.row + i) * depth);
  });
  const size_t bytes = packet_bytes(layout.type);
  for (int64_t packet = 0; packet < layout.packets(); ++packet)
    put_floats(layout.type, values.data() + packet * kPacketDepth, depth, out + packet * bytes);
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
