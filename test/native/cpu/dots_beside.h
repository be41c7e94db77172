// Products of integers that stand beside a set, compared with the set's own: the same bits.
#pragma once
#include <cstring>
#include <random>
#include <vector>

#include "core/weights/blocks.h"
#include "cpu/aligned_buffer.h"
#include "cpu/grouped_gemm.h"
#include "cpu/run_stages.h"

namespace moe::test {

// Rows times panels of bytes as they may come, extremes among them.
class RandomProduct {
 public:
  RandomProduct(const cpu::Kernels& set, cpu::Panel panel, int64_t rows, int64_t depth, int64_t group)
      : set_(set), rows_(rows), depth_(depth), group_(group), kernels_(set.panels[size_t(panel)]) {
    const int64_t columns = set.panel_columns, groups = divide_up(depth, group);
    panel_bytes_ = 2 * columns * groups + cpu::padded_depth(depth) / kernels_.rows * kernels_.rows_bytes;
    panels_.resize(kPanels * panel_bytes_);
    for (std::byte& byte : panels_) byte = any_byte();
    for (int64_t p = 0; p < kPanels; ++p)
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t before = g * (2 * columns + group / kernels_.rows * kernels_.rows_bytes);
        auto* const scales = panels_.data() + p * panel_bytes_ + before;
        for (int64_t i = 0; i < columns; ++i) {
          const uint16_t scale = to_bfloat16(uniform(0.001f, 2));
          std::memcpy(scales + 2 * i, &scale, sizeof scale);
        }
      }
    bias_.resize(kPanels * columns);
    for (float& bias : bias_) bias = uniform(-1, 1);
    x_.resize(rows * depth);
    for (float& x : x_) x = random_() % 4 == 0 ? std::copysign(3.0f, uniform(-1, 1)) : uniform(-3, 3);
  }

  // quantize and gemm: of the set or of what stands beside it.
  std::vector<float> run(void (*quantize)(const cpu::QuantizeTask&), void (*gemm)(const cpu::GemmTask&),
                         int64_t scratch_floats, cpu::Epilogue epilogue) const {
    const int64_t tiles = divide_up(rows_, set_.tile_rows), groups = divide_up(depth_, group_);
    const int64_t row_bytes = cpu::dot_row_bytes(depth_);
    std::vector<int8_t> integers(rows_ * row_bytes, 0x55);
    std::vector<float> scales(rows_ * groups), scratch(scratch_floats + 16), out(rows_ * columns_of(epilogue));
    std::vector<int32_t> starts(rows_ * groups);
    const auto begin = [&](int64_t tile) { return tile * (rows_ / tiles) + std::min(tile, rows_ % tiles); };
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = begin(tile);
      quantize({.tile = x_.data() + row * depth_,
                .rows = begin(tile + 1) - row,
                .depth = depth_,
                .group = group_,
                .offset = kernels_.offset,
                .integers = integers.data() + row * row_bytes,
                .scales = scales.data() + row * groups,
                .starts = starts.data() + row * groups});
    }
    cpu::GemmTask task{};
    task.integers = integers.data(), task.row_scales = scales.data(), task.row_starts = starts.data();
    task.rows = rows_, task.depth = depth_, task.group = group_;
    task.panels = panels_.data(), task.bias = bias_.data(), task.num_panels = kPanels;
    task.columns = columns_of(epilogue), task.output = out.data(), task.epilogue = epilogue;
    task.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64 / sizeof(float);
    for (task.first_tile = 0; task.first_tile < tiles; task.first_tile += task.num_tiles) {
      task.num_tiles = std::min(tiles - task.first_tile, set_.max_tiles);
      gemm(task);
    }
    return out;
  }

 private:
  static constexpr int64_t kPanels = 5;  // four that stand side by side, and one
  static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
  // The last panel is not full.
  int64_t columns_of(const cpu::Epilogue& epilogue) const {
    const bool gated = epilogue.kind == cpu::Epilogue::kSwiGLU;
    return kPanels * set_.panel_columns / (gated ? 2 : 1) - 3;
  }

  float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random_); }
  std::byte any_byte() {
    constexpr uint8_t kExtremes[] = {0x80, 0x81, 0x7f, 0xff, 0x00, 0xf0, 0x0f};
    return static_cast<std::byte>(random_() % 3 == 0 ? kExtremes[random_() % std::size(kExtremes)] : random_());
  }

  const cpu::Kernels& set_;
  int64_t rows_, depth_, group_;
  const cpu::PanelKernels& kernels_;
  int64_t panel_bytes_;
  std::mt19937 random_{7};
  std::vector<std::byte> panels_;
  std::vector<float> bias_, x_;  // x_ [tile][depth][row of the tile]
};

// Tests of what stands beside a set: null where this CPU has none.
class DotsBeside : public testing::Test {
 protected:
  explicit DotsBeside(const cpu::DotKernels* dots) : dots_(dots) {}
  void SetUp() override {
    for (const cpu::Kernels* kernels : cpu::supported_kernels())
      if (dots_ && kernels->name == std::string(dots_->beside)) set_ = kernels;
    if (!set_) GTEST_SKIP() << "not built, or not of this CPU";
  }

  void expect_the_bits_of_the_set() const;
  void expect_experts_of_the_set() const;
  void expect_forms_apart() const;

  const cpu::DotKernels* dots_;
  const cpu::Kernels* set_ = nullptr;
};

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline void DotsBeside::expect_the_bits_of_the_set() const {
  const cpu::Kernels& set = *set_;
  const cpu::DotKernels& dots = *dots_;
  for (const cpu::Panel panel : {cpu::Panel::kInt8Dots, cpu::Panel::kInt4Dots})
    for (const int64_t group : {32, 64, 128, 256})
      for (const auto& [depth, rows] : {std::pair<int64_t, int64_t>{1, 16},
                                        {1000, 1},
                                        {31, 13},
                                        {64, 35},
                                        {72, 17},
                                        {100, 33},
                                        {129, 49},
                                        {600, 70},
                                        {1100, 2},
                                        {1320, 200}})
        for (const auto kind : {cpu::Epilogue::kNone, cpu::Epilogue::kSwiGLU}) {
          const RandomProduct product(set, panel, rows, depth, group);
          const auto index = static_cast<size_t>(panel);
          const cpu::Epilogue epilogue{.kind = kind};
          EXPECT_TRUE(same_bits(product.run(dots.quantize_tile, dots.gemm[index], dots.scratch_floats, epilogue),
                                product.run(set.quantize_tile, set.panels[index].gemm, set.scratch_floats, epilogue)))
              << "panel " << index << ", groups of " << group << ", " << rows << " rows of " << depth;
        }
}

// Whole layers, of experts with many rows, few and none.
inline void DotsBeside::expect_experts_of_the_set() const {
  const cpu::Kernels& set = *set_;
  constexpr int64_t kExperts = 5, kColumns = 70, kOffsets[kExperts + 1] = {0, 40, 41, 41, 54, 70};
  for (const Held held : kEveryIntegerProduct)
    for (const int64_t depth : {50, 300}) {
      RandomLayer random({.hidden = kColumns, .intermediate = static_cast<int32_t>(depth), .experts = kExperts});
      cpu::HeldAs as;
      as.type = held.type, as.group = held.group, as.row_type = held.row_type;
      cpu::PackedMatrices weights(set, std::vector(kExperts, as), false, kColumns, depth);
      for (int64_t expert = 0; expert < kExperts; ++expert) {
        weights.pack_bias(expert, {}, {});
        for (int64_t panel = 0; panel < weights.num_panels(); ++panel)
          weights.pack_panel(expert, panel, {}, random.host.experts[expert].down);
      }
      const std::vector<int32_t> offsets(std::begin(kOffsets), std::end(kOffsets));
      RandomLayer inputs({.hidden = static_cast<int32_t>(depth)});
      const std::vector<float> in = inputs.hidden(offsets.back());
      ThreadPool pool(2);
      ThreadPool::Team team = pool.team();
      const auto run = [&](const cpu::DotKernels* beside) {
        cpu::GroupedGemm gemm(set, beside);
        gemm.set_rows({offsets.data(), nullptr, 1}, kExperts);
        std::vector<float> tiles(in.size()), out(offsets.back() * kColumns);
        gemm.gather(in.data(), depth, tiles.data(), team, {});
        gemm.multiply(weights, tiles.data(), {}, out.data(), team, {});
        return out;
      };
      EXPECT_TRUE(same_bits(run(dots_), run(nullptr))) << "depth " << depth << ", groups of " << held.group;
    }
}

// Products of one call, of which only the first multiplies rows in the order of `dots_`: groups and offsets are the
// same.
inline void DotsBeside::expect_forms_apart() const {
  constexpr int64_t kRows = 20, kColumns = 70, kDepth = 96;
  const BlockType& q4_0 = block_types().front();
  ASSERT_STREQ(q4_0.name, "q4_0");
  std::vector<uint8_t> blocks(kColumns * kDepth / q4_0.elements * q4_0.bytes);
  std::minstd_rand random(1);
  for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(random());
  for (size_t block = 0; block < blocks.size(); block += q4_0.bytes) blocks[block + 1] = 0x2c;  // a scale like 0.07
  WeightMatrix published{.data = blocks.data(), .out_features = kColumns, .in_features = kDepth};
  published.out_stride = kDepth, published.in_stride = 1, published.dtype = DType::kBlocks, published.blocks = &q4_0;
  RandomLayer inputs({.hidden = kColumns, .intermediate = kDepth});
  const WeightMatrix* const matrices[] = {&inputs.host.experts[0].down, &published};
  std::vector<cpu::PackedMatrices> weights;
  for (const WeightType type : {WeightType::kInt4, WeightType::kPublished}) {
    cpu::HeldAs as;
    as.type = type, as.group = 32, as.row_type = RowType::kInt8;
    const WeightMatrix* const matrix = matrices[weights.size()];
    weights.emplace_back(*set_, cpu::held_as(as, {&matrix, 1}), false, kColumns, kDepth);
    weights.back().pack_bias(0, {}, {});
    for (int64_t panel = 0; panel < weights.back().num_panels(); ++panel)
      weights.back().pack_panel(0, panel, {}, *matrix);
  }
  ThreadPool pool(2);
  ThreadPool::Team team = pool.team();
  const int32_t offsets[] = {0, kRows};
  cpu::GroupedGemm gemm(*set_, dots_);
  gemm.set_rows({offsets, nullptr, 1}, 1);
  const std::vector<float> in = RandomLayer({.hidden = kDepth}).hidden(kRows);
  std::vector<float> tiles(in.size());
  gemm.gather(in.data(), kDepth, tiles.data(), team, {});
  std::vector<std::vector<float>> alone(2, std::vector<float>(kRows * kColumns)), together = alone;
  std::vector<cpu::Product> products;
  for (size_t i = 0; i < weights.size(); ++i) {
    gemm.multiply(weights[i], tiles.data(), {}, alone[i].data(), team, {});
    products.push_back({&weights[i], together[i].data()});
  }
  gemm.multiply(products, tiles.data(), {}, team, {});
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(same_bits(together[i], alone[i])) << "product " << i;
}

}  // namespace moe::test
