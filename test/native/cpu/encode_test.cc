// Integers and scales that an instruction set makes of weights are those that the core makes of them.
#include <array>
#include <limits>
#include <random>
#include <string>

#include "core/weight_format.h"
#include "cpu/run_stages.h"

namespace moe::test {
namespace {

using Row = std::vector<float>;

struct Encoded {
  std::vector<int8_t> codes;
  std::vector<uint16_t> scales;
  bool operator==(const Encoded&) const = default;
};

template <class Encode>
Encoded encoded(const Encode& encode, const Row& row, int64_t group) {
  const auto count = static_cast<int64_t>(row.size()), size = group == 0 ? count : group;
  Encoded result{std::vector<int8_t>(count + 1, 99), std::vector<uint16_t>((count + size - 1) / size + 1, 99)};
  encode(row.data(), count, group, result.codes.data(), result.scales.data());
  return result;
}

class Encoders : public EachInstructionSet {
 protected:
  // In every integer format, in all of its groups.
  void expect_the_codes_of_the_core(const Row& row) {
    using enum cpu::Panel;
    for (const auto& [type, panels] : {std::pair{WeightType::kInt8, std::array{kInt8, kInt8Dots}},
                                       std::pair{WeightType::kInt4, std::array{kInt4, kInt4Dots}}})
      for (const cpu::Panel panel : panels)
        for (const int64_t group : {32, 64, 128, 0})
          ASSERT_EQ(encoded(kernels().panels[static_cast<size_t>(panel)].encode, row, group),
                    encoded(format_of(type).encode, row, group))
              << format_of(type).name << " in groups of " << group << ", " << row.size() << " weights";
  }
};
INSTANTIATE_TEST_SUITE_P(Cpu, Encoders, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

Row normal(int64_t count, float deviation, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(0, deviation);
  Row row(count);
  for (float& value : row) value = distribution(random);
  return row;
}

TEST_P(Encoders, GiveTheCodesOfTheCoreForRowsOfAnyLength) {
  for (const int64_t count : {1, 7, 15, 16, 17, 31, 32, 33, 100, 127, 128, 129, 513, 4096})
    for (uint32_t seed = 0; seed < 20; ++seed)
      expect_the_codes_of_the_core(normal(count, seed % 2 == 0 ? 0.02f : 3e4f, seed));
}

TEST_P(Encoders, GiveTheCodesOfTheCoreForTies) {
  std::mt19937 random(3);
  std::uniform_int_distribution<int> halves(-16, 16);
  for (int i = 0; i < 50; ++i) {
    Row row(137);
    for (float& value : row) value = 0.5f * static_cast<float>(halves(random));
    expect_the_codes_of_the_core(row);
    for (float& value : row) value = value < 0 ? -8.0f : 8.0f;  // both signs have the largest magnitude
    expect_the_codes_of_the_core(row);
  }
}

TEST_P(Encoders, GiveTheCodesOfTheCoreForWeightsThatAreNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {kNaN, -kNaN, kInfinity, -kInfinity})
    for (const int64_t at : {0, 13, 31, 64, 149, 150}) {
      Row row = normal(151, 1, 5);
      row[at] = bad;
      expect_the_codes_of_the_core(row);
    }
}

TEST_P(Encoders, GiveTheCodesOfTheCoreForZerosAndTheEndsOfTheRange) {
  constexpr float kMost = std::numeric_limits<float>::max();
  for (const float value : {0.0f, -0.0f, 1e-40f, 127 * 0x1p-100f, -126 * 0x1p-100f, kMost, -kMost}) {
    expect_the_codes_of_the_core(Row(150, value));
    Row row = normal(150, 0.02f, 9);
    row[40] = row[149] = value;
    expect_the_codes_of_the_core(row);
  }
}

}  // namespace
}  // namespace moe::test
