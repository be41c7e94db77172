// The interpreter that proves products by tiles is itself what the manual of the instructions says.
#include "cpu/tile_machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace moe::test {
namespace {

struct Config {
  uint8_t bytes[64] = {1};
  void set(int tile, uint8_t rows, uint8_t row_bytes) {
    bytes[16 + 2 * tile] = row_bytes;
    bytes[48 + tile] = rows;
  }
};

TileMachine with_shapes(std::initializer_list<std::pair<uint8_t, uint8_t>> shapes) {
  Config config;
  int tile = 0;
  for (const auto& [rows, row_bytes] : shapes) config.set(tile++, rows, row_bytes);
  TileMachine machine;
  machine.configure(config.bytes);
  return machine;
}

TEST(TileMachine, RefusesWhatIsNoConfiguration) {
  const auto refused = [](auto change) {
    Config config;
    config.set(0, 16, 64);
    TileMachine machine;
    EXPECT_NO_THROW(machine.configure(config.bytes));
    change(config);
    EXPECT_THROW(machine.configure(config.bytes), std::logic_error);
  };
  refused([](Config& config) { config.bytes[0] = 0; });
  refused([](Config& config) { config.bytes[0] = 2; });
  refused([](Config& config) { config.bytes[1] = 1; });
  refused([](Config& config) { config.bytes[15] = 1; });
  refused([](Config& config) { config.set(0, 17, 64); });
  refused([](Config& config) { config.set(0, 16, 65); });
  refused([](Config& config) { config.bytes[17] = 1; });  // the upper half of a tile's bytes
  refused([](Config& config) { config.set(3, 1, 0); });
  refused([](Config& config) { config.set(3, 0, 4); });
  refused([](Config& config) { config.set(8, 1, 4); });
}

TEST(TileMachine, RefusesTilesWithoutAShape) {
  TileMachine machine;
  EXPECT_THROW(machine.zero(0), std::logic_error);
  machine = with_shapes({{1, 4}});
  EXPECT_NO_THROW(machine.zero(0));
  EXPECT_THROW(machine.zero(1), std::logic_error);
  uint8_t byte[64];
  EXPECT_THROW(machine.load(1, byte, 64), std::logic_error);
  EXPECT_THROW(machine.store(1, byte, 64), std::logic_error);
  EXPECT_THROW((machine.dot<int8_t, int8_t>(0, 1, 2)), std::logic_error);
  machine.release();
  EXPECT_FALSE(machine.configured());
  EXPECT_THROW(machine.zero(0), std::logic_error);
}

TEST(TileMachine, RefusesShapesThatDoNotFit) {
  const auto dot = [](std::initializer_list<std::pair<uint8_t, uint8_t>> shapes, int c = 0, int a = 1, int b = 2) {
    with_shapes(shapes).dot<int8_t, int8_t>(c, a, b);
  };
  EXPECT_NO_THROW(dot({{3, 20}, {3, 8}, {2, 20}}));
  EXPECT_THROW(dot({{3, 20}, {4, 8}, {2, 20}}), std::logic_error);
  EXPECT_THROW(dot({{3, 20}, {3, 8}, {2, 16}}), std::logic_error);
  EXPECT_THROW(dot({{3, 20}, {3, 8}, {3, 20}}), std::logic_error);
  EXPECT_THROW(dot({{3, 20}, {3, 10}, {2, 20}}), std::logic_error);
  EXPECT_THROW(dot({{1, 4}, {1, 4}, {1, 4}}, 0, 1, 1), std::logic_error);
  EXPECT_THROW(dot({{1, 4}, {1, 4}, {1, 4}}, 0, 0, 1), std::logic_error);
  EXPECT_THROW(dot({{1, 4}, {1, 4}, {1, 4}}, 0, 1, 0), std::logic_error);
}

TEST(TileMachine, MovesTheBytesOfATileOnly) {
  std::vector<uint8_t> from(5 * 40), to(5 * 30, 0xee);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint8_t>(i + 1);
  TileMachine machine = with_shapes({{5, 12}});
  machine.load(0, from.data(), 40);
  machine.store(0, to.data(), 30);
  for (int row = 0; row < 5; ++row)
    for (int i = 0; i < 30; ++i) EXPECT_EQ(to[row * 30 + i], i < 12 ? from[row * 40 + i] : 0xee);
  machine.zero(0);
  machine.store(0, to.data(), 30);
  EXPECT_EQ(to[4 * 30 + 11], 0);
  EXPECT_EQ(to[4 * 30 + 12], 0xee);
  Config config;
  config.set(0, 5, 12);
  machine.load(0, from.data(), 40);
  machine.configure(config.bytes);
  machine.store(0, to.data(), 30);
  EXPECT_EQ(to[0], 0) << "a configuration clears tiles";
}

template <class OfA, class OfB>
void expect_products(uint32_t start) {
  constexpr int kRows = 7, kColumns = 11, kDepth = 36;
  TileMachine machine = with_shapes({{kRows, 4 * kColumns}, {kRows, kDepth}, {kDepth / 4, 4 * kColumns}});
  std::mt19937 random(3);
  uint8_t a[kRows][kDepth], b[kDepth / 4][4 * kColumns];
  uint32_t before[kRows][kColumns], after[kRows][kColumns];
  for (auto& row : a) std::ranges::generate(row, [&] { return static_cast<uint8_t>(random() % 3 ? random() : 0x80); });
  for (auto& row : b) std::ranges::generate(row, [&] { return static_cast<uint8_t>(random() % 3 ? random() : 0xff); });
  for (auto& row : before) std::ranges::fill(row, start);
  machine.load(0, before, sizeof before[0]);
  machine.load(1, a, sizeof a[0]);
  machine.load(2, b, sizeof b[0]);
  machine.dot<OfA, OfB>(0, 1, 2);
  machine.store(0, after, sizeof after[0]);
  for (int m = 0; m < kRows; ++m)
    for (int n = 0; n < kColumns; ++n) {
      int64_t sum = start;
      for (int k = 0; k < kDepth; ++k)
        sum += int64_t{static_cast<OfA>(a[m][k])} * static_cast<OfB>(b[k / 4][4 * n + k % 4]);
      EXPECT_EQ(after[m][n], static_cast<uint32_t>(sum));
    }
}

TEST(TileMachine, AddsProductsOfSignedAndUnsignedBytesModulo32Bits) {
  for (const uint32_t start : {0u, 0x7ffffff0u, 0xfffffff0u}) {
    expect_products<int8_t, int8_t>(start);
    expect_products<int8_t, uint8_t>(start);
    expect_products<uint8_t, int8_t>(start);
    expect_products<uint8_t, uint8_t>(start);
  }
}

}  // namespace
}  // namespace moe::test
