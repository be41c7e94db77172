// Packets hold every weight where the kernels look for it.
#include "cuda/weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "core/weights/float16.h"
#include "held_weights.h"

namespace moe::cuda {
namespace {

// What lane `lane` of a warp reads as input `k` (0 .. 31) of feature `row` (0 .. 15) of a packet, and which lane that
// is.
float weight_at(WeightType type, const uint8_t* packet, int64_t row, int64_t k) {
  const int64_t lane = row % 8 * 4 + k % 8 / 2, step = k / 16, within = k % 16 / 8 * 2 + k % 2, half = row / 8;
  const auto scale = [&](const uint8_t* scales) {
    uint16_t bits;
    std::memcpy(&bits, scales + (row % 8 * 2 + half) * sizeof bits, sizeof bits);
    return from_bfloat16(bits);
  };
  switch (type) {
    case WeightType::kFloat32: {
      float value;
      std::memcpy(&value, packet + ((step * 2 + half) * 32 + lane) * 16 + within * 4, sizeof value);
      return value;
    }
    case WeightType::kBFloat16:
    case WeightType::kFloat16: {
      const int64_t reg = half * 2 + within / 2;
      uint16_t bits;
      std::memcpy(&bits, packet + (step * 32 + lane) * 16 + reg * 4 + within % 2 * 2, sizeof bits);
      return type == WeightType::kBFloat16 ? from_bfloat16(bits) : from_float16(bits);
    }
    case WeightType::kInt8:
      return static_cast<float>(packet[lane * 16 + (step * 2 + half) * 4 + within] - 128) * scale(packet + 512);
    case WeightType::kInt4: {
      uint32_t word;
      std::memcpy(&word, packet + lane * 8 + step * 4, sizeof word);
      const int64_t nibble = half * 2 + within / 2 + within % 2 * 4;
      return static_cast<float>(static_cast<int>(word >> (4 * nibble) & 15) - 8) * scale(packet + 256);
    }
    case WeightType::kPublished:
      break;  // No packet holds it: a device with packets refuses the type.
  }
  return 0;
}

struct Shape {
  int64_t columns, depth;
  bool gated, padded;
};

std::vector<float> random_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random);
  return values;
}

// The values of one feature as a device holds them.
std::vector<float> held(WeightType type, int32_t group, const float* values, int64_t depth) {
  std::vector<float> out(values, values + depth);
  test::round_to(type, group, out.data(), depth);
  return out;
}

void expect_every_weight(WeightType type, int32_t group, const Shape& shape) {
  const PacketLayout layout{type, group, shape.gated, shape.columns, shape.depth, shape.padded};
  const std::vector<float> gate = random_values(shape.columns * shape.depth, 1);
  const std::vector<float> up = random_values(shape.columns * shape.depth, 2);
  const auto view = [&](const std::vector<float>& values) {
    return WeightMatrix{values.data(), DType::kFloat32, shape.columns, shape.depth, shape.depth, 1};
  };
  for (int64_t block = 0; block < layout.blocks(); ++block) {
    std::vector<uint8_t> bytes(layout.block_bytes(), 0xa5);
    pack_block(layout, view(gate), view(up), block, bytes.data());
    for (int64_t row = 0; row < kPacketColumns; ++row) {
      const int64_t per_block = layout.columns_per_block(), column = block * per_block + row % per_block;
      const std::vector<float>& from = shape.gated && row < per_block ? gate : up;
      const bool exists = column < shape.columns;
      const std::vector<float> expected =
          exists ? held(type, group, from.data() + column * shape.depth, shape.depth) : std::vector<float>();
      for (int64_t k = 0; k < layout.padded_depth(); ++k) {
        const uint8_t* const packet = bytes.data() + k / kPacketDepth * packet_bytes(type);
        const float value = weight_at(type, packet, row, k % kPacketDepth);
        ASSERT_EQ(value, exists && k < shape.depth ? expected[k] : 0.0f)
            << "block " << block << " row " << row << " input " << k << " type " << static_cast<int>(type);
      }
    }
  }
}

TEST(Packets, HoldEveryWeightAndZerosBeyond) {
  for (const Shape& shape : {Shape{21, 40, true, true}, Shape{21, 40, false, true}, Shape{70, 130, false, false},
                             Shape{64, 64, true, true}, Shape{1, 1, false, false}}) {
    for (const WeightType type : {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kFloat16, WeightType::kInt8})
      expect_every_weight(type, 0, shape);
    for (const int32_t group : {32, 64, 128}) {
      expect_every_weight(WeightType::kInt8, group, shape);
      expect_every_weight(WeightType::kInt4, group, shape);
    }
  }
}

TEST(Packets, PutBiasesBesideTheirFeatures) {
  const std::vector<float> gate = random_values(21, 1), up = random_values(21, 2);
  const WeightVector gate_view{gate.data(), DType::kFloat32, 21, 1}, up_view{up.data(), DType::kFloat32, 21, 1};
  const PacketLayout gated{WeightType::kBFloat16, 0, true, 21, 40, true};
  std::vector<float> out(gated.blocks() * kPacketColumns, 7.0f);
  pack_biases(gated, gate_view, up_view, out.data());
  for (int64_t column = 0; column < 64; ++column) {
    EXPECT_EQ(out[column / 8 * 16 + column % 8], column < 21 ? gate[column] : 0.0f);
    EXPECT_EQ(out[column / 8 * 16 + 8 + column % 8], column < 21 ? up[column] : 0.0f);
  }
  const PacketLayout plain{WeightType::kBFloat16, 0, false, 21, 40, false};
  out.assign(plain.blocks() * kPacketColumns, 7.0f);
  pack_biases(plain, {}, up_view, out.data());
  for (int64_t column = 0; column < 32; ++column) EXPECT_EQ(out[column], column < 21 ? up[column] : 0.0f);
}

TEST(Packets, PadTheIntermediateSoThatItIsTheNextDepth) {
  const PacketLayout up{WeightType::kBFloat16, 0, true, 75, 90, true},
      down{WeightType::kBFloat16, 0, false, 90, 75, false};
  EXPECT_EQ(up.padded_columns(), down.padded_depth());
  EXPECT_EQ(up.blocks() * up.columns_per_block(), down.padded_depth());
}

}  // namespace
}  // namespace moe::cuda
