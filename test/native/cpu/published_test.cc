// Panels of weights as they were published: every code and factor, against float32 panels of the same numbers.
#include "cpu/published.h"

#include <cmath>
#include <cstring>
#include <random>

#include "core/weights/float16.h"
#include "cpu/run_stages.h"

namespace moe::test {
namespace {

struct NamedForm {
  const char* name;
  GroupedForm form;
};

constexpr auto kInteger = CodeKind::kInteger;

const NamedForm kForms[] = {
    {"q8_0", {.codes = kInteger, .bits = 8, .group = 32, .scale = ScaleKind::kFloat16, .zero = 128}},
    {"q4_0", {.codes = kInteger, .bits = 4, .group = 32, .scale = ScaleKind::kFloat16, .zero = 8}},
    {"q5_0", {.codes = kInteger, .bits = 5, .group = 32, .scale = ScaleKind::kFloat16, .zero = 16}},
    {"q4_1", {.codes = kInteger, .bits = 4, .group = 32, .scale = ScaleKind::kFloat16, .offsets = true}},
    {"q5_1", {.codes = kInteger, .bits = 5, .group = 32, .scale = ScaleKind::kFloat16, .offsets = true}},
    {"q2_K", {.codes = kInteger, .bits = 4, .group = 16, .scale = ScaleKind::kFloat16TimesInteger, .offsets = true}},
    {"q3_K", {.codes = kInteger, .bits = 4, .group = 16, .scale = ScaleKind::kFloat16TimesInteger, .zero = 4}},
    {"q4_K", {.codes = kInteger, .bits = 4, .group = 32, .scale = ScaleKind::kFloat16TimesInteger, .offsets = true}},
    {"q5_K", {.codes = kInteger, .bits = 5, .group = 32, .scale = ScaleKind::kFloat16TimesInteger, .offsets = true}},
    {"q6_K", {.codes = kInteger, .bits = 6, .group = 16, .scale = ScaleKind::kFloat16TimesInteger, .zero = 32}},
    {"iq4_nl", {.codes = CodeKind::kIq4, .bits = 4, .group = 32, .scale = ScaleKind::kFloat16}},
    {"iq4_xs", {.codes = CodeKind::kIq4, .bits = 4, .group = 32, .scale = ScaleKind::kFloat16TimesInteger}},
    {"mxfp4", {.codes = CodeKind::kFloat4E2M1, .bits = 4, .group = 32, .scale = ScaleKind::kFloat8E8M0}},
    {"nvfp4", {.codes = CodeKind::kFloat4E2M1, .bits = 4, .group = 16, .scale = ScaleKind::kFloat32TimesE4M3}},
    {"gptq4", {.codes = kInteger, .bits = 4, .group = 128, .scale = ScaleKind::kFloat16, .zeros = true}},
    {"gptq8", {.codes = kInteger, .bits = 8, .group = 64, .scale = ScaleKind::kFloat16, .zeros = true}},
    {"int4 of floats", {.codes = kInteger, .bits = 4, .group = 64, .scale = ScaleKind::kFloat32, .zero = 8}},
    {"int8 by feature", {.codes = kInteger, .bits = 8, .group = 0, .scale = ScaleKind::kFloat32, .zero = 128}},
    {"int4 by feature", {.codes = kInteger, .bits = 4, .group = 0, .scale = ScaleKind::kBFloat16, .zero = 8}},
    {"mlx6", {.codes = kInteger, .bits = 6, .group = 64, .scale = ScaleKind::kBFloat16, .offsets = true}},
    {"fp8 by block", {.codes = CodeKind::kFloat8E4M3, .bits = 8, .group = 128, .scale = ScaleKind::kFloat32}},
    {"fp8 by feature", {.codes = CodeKind::kFloat8E4M3, .bits = 8, .group = 0, .scale = ScaleKind::kBFloat16}},
    {"nvfp4, divided",
     {.codes = CodeKind::kFloat4E2M1, .bits = 4, .group = 16, .scale = ScaleKind::kFloat32TimesE4M3, .divides = true}},
    {"offsets of floats", {.codes = kInteger, .bits = 4, .group = 32, .scale = ScaleKind::kFloat32, .offsets = true}},
    {"int4 by 48", {.codes = kInteger, .bits = 4, .group = 48, .scale = ScaleKind::kBFloat16, .zero = 8}},
    {"int8 by 256", {.codes = kInteger, .bits = 8, .group = 256, .scale = ScaleKind::kFloat16, .zeros = true}},
    {"int4 by 40", {.codes = kInteger, .bits = 4, .group = 40, .scale = ScaleKind::kFloat32, .zeros = true}},
    {"int8 by 20", {.codes = kInteger, .bits = 8, .group = 20, .scale = ScaleKind::kFloat16, .offsets = true}},
    {"fp8 by 100", {.codes = CodeKind::kFloat8E4M3, .bits = 8, .group = 100, .scale = ScaleKind::kFloat32}},
    {"gptq4, ordered",
     {.codes = kInteger, .bits = 4, .group = 128, .ordered = true, .scale = ScaleKind::kFloat16, .zeros = true}},
    {"gptq8, ordered",
     {.codes = kInteger, .bits = 8, .group = 64, .ordered = true, .scale = ScaleKind::kFloat32, .zero = 128}},
};

constexpr int kIq4Numbers[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

float number_of(CodeKind kind, uint8_t code) {
  switch (kind) {
    case CodeKind::kFloat4E2M1:
      return from_float4_e2m1(code);
    case CodeKind::kIq4:
      return static_cast<float>(kIq4Numbers[code]);
    case CodeKind::kFloat8E4M3:
      return from_float8_e4m3(code);
    default:
      return code;
  }
}

float factor_of(ScaleKind kind, uint32_t bits, int32_t level) {
  switch (kind) {
    case ScaleKind::kFloat32:
      return std::bit_cast<float>(bits);
    case ScaleKind::kBFloat16:
      return from_bfloat16(static_cast<uint16_t>(bits));
    case ScaleKind::kFloat16:
      return from_float16(static_cast<uint16_t>(bits));
    case ScaleKind::kFloat8E8M0:
      return from_float8_e8m0(static_cast<uint8_t>(bits));
    case ScaleKind::kFloat16TimesInteger:
      return from_float16(static_cast<uint16_t>(bits)) * static_cast<float>(level);
    case ScaleKind::kFloat32TimesE4M3:
      return 0;  // rounded, if at all, behind the product with the number
  }
  return 0;
}

float value_of(const GroupedForm& form, uint8_t code, const GroupFactors& factors) {
  const auto zero = static_cast<float>(form.zeros ? factors.zero : form.zero);
  const float number = number_of(form.codes, code) - zero;
  if (form.scale == ScaleKind::kFloat32TimesE4M3) {
    const float scaled = number * from_float8_e4m3(static_cast<uint8_t>(factors.level));
    const auto first = std::bit_cast<float>(factors.scale);
    return form.divides ? scaled / first : scaled * first;
  }
  const float scale = factor_of(form.scale, factors.scale, factors.level);
  if (!form.offsets) return number * scale;
  const float product = number * scale;
  return form.scale == ScaleKind::kFloat16TimesInteger
             ? product - factor_of(form.scale, factors.offset, -factors.offset_level)
             : product + factor_of(form.scale, factors.offset, 0);
}

// A column of random codes and factors, small and large ones, subnormal ones too.
struct Column {
  std::vector<uint8_t> codes;
  std::vector<GroupFactors> factors;
  std::vector<float> values;
};

uint32_t random_factor(ScaleKind kind, std::mt19937& random) {
  const float value =
      std::ldexp(1.0f + static_cast<float>(random() % 1024) / 1024, -8 + static_cast<int>(random() % 6));
  switch (kind) {
    case ScaleKind::kFloat32:
    case ScaleKind::kFloat32TimesE4M3:
      return std::bit_cast<uint32_t>(value * 1.0001f);
    case ScaleKind::kBFloat16:
      return to_bfloat16(value);
    case ScaleKind::kFloat8E8M0:
      return random() % 16 == 0 ? 0 : 115 + random() % 12;
    default:
      return random() % 16 == 0 ? 1 + random() % 1023 : to_float16(value);  // subnormal float16
  }
}

// The group of each input: any, where the form is ordered.
std::vector<int32_t> random_groups(const GroupedForm& form, int64_t depth) {
  std::mt19937 random(static_cast<uint32_t>(depth));
  std::vector<int32_t> groups(depth);
  for (int64_t k = 0; k < depth; ++k)
    groups[k] = static_cast<int32_t>(form.ordered      ? random() % form.groups(depth)
                                     : form.group == 0 ? 0
                                                       : k / form.group);
  return groups;
}

Column random_column(const GroupedForm& form, const std::vector<int32_t>& groups, std::mt19937& random) {
  const auto depth = static_cast<int64_t>(groups.size());
  Column column{std::vector<uint8_t>(depth), {}, std::vector<float>(depth)};
  const int64_t group = form.group == 0 ? depth : form.group, super = std::max<int64_t>(1, kSuperBlock / group);
  const bool signed_levels = !form.offsets;
  for (int64_t g = 0; g * group < depth; ++g) {
    GroupFactors factors{.scale = random_factor(form.scale, random), .offset = random_factor(form.scale, random)};
    if (form.scale == ScaleKind::kFloat16TimesInteger) {
      factors.level = static_cast<int32_t>(random() % 64) - (signed_levels ? 32 : 0);
      factors.offset_level = -static_cast<int32_t>(random() % 64);
    }
    if (form.scale == ScaleKind::kFloat32TimesE4M3) factors.level = static_cast<int32_t>(random() % 0x7f);
    if (form.divides) factors.scale = std::bit_cast<uint32_t>(1 / std::bit_cast<float>(factors.scale));
    if (form.zeros) factors.zero = static_cast<int32_t>(random() % (1u << form.bits));
    const bool two_levels = form.scale == ScaleKind::kFloat16TimesInteger || form.scale == ScaleKind::kFloat32TimesE4M3;
    if (two_levels && g % super != 0) {
      factors.scale = column.factors.back().scale;
      factors.offset = column.factors.back().offset;
    }
    column.factors.push_back(factors);
  }
  for (int64_t k = 0; k < depth; ++k) {
    uint32_t code = random() % (1u << form.bits);
    if (form.codes == CodeKind::kFloat8E4M3 && (code & 0x7f) == 0x7f) code = 0x7e;  // no NaN
    column.codes[k] = static_cast<uint8_t>(code);
    column.values[k] = value_of(form, column.codes[k], column.factors[groups[k]]);
  }
  return column;
}

// The same matrix in published panels and in panels of float32.
struct Panels {
  Panels(const cpu::Kernels& kernels, const GroupedForm& form, int64_t depth, int64_t panels)
      : form(cpu::published_form(form, kernels, depth)),
        groups(random_groups(form, depth)),
        published(panels * this->form.panel_bytes + 64),
        floats(panels * depth * kernels.panel_columns),
        bias(panels * kernels.panel_columns) {
    this->form.group_of_row = groups.data();
    std::mt19937 random(static_cast<uint32_t>(depth * 31 + panels));
    for (int64_t p = 0; p < panels; ++p)
      for (int64_t c = 0; c < kernels.panel_columns; ++c) {
        const Column column = random_column(form, groups, random);
        cpu::put_published(form, this->form, kernels.panel_columns, depth,
                           published.data() + p * this->form.panel_bytes, c, column.codes.data(),
                           column.factors.data());
        for (int64_t k = 0; k < depth; ++k) floats[(p * depth + k) * kernels.panel_columns + c] = column.values[k];
      }
    for (float& each : bias) each = static_cast<float>(random() % 100) / 10;
  }

  cpu::PublishedForm form;
  std::vector<int32_t> groups;
  std::vector<std::byte> published;
  std::vector<float> floats, bias;
};

class PublishedPanels : public EachInstructionSet {
 protected:
  // Rows in tile form, as few tiles as they fit in.
  std::vector<float> tiles(const std::vector<float>& rows, int64_t count, int64_t depth) const {
    std::vector<float> tiled(rows.size());
    for_each_tile(count, [&](int64_t first, int64_t in_tile) {
      for (int64_t i = 0; i < in_tile; ++i)
        for (int64_t k = 0; k < depth; ++k) tiled[first * depth + k * in_tile + i] = rows[(first + i) * depth + k];
    });
    return tiled;
  }

  template <class Body>
  void for_each_tile(int64_t count, const Body& body) const {
    const int64_t tiles = (count + kernels().tile_rows - 1) / kernels().tile_rows;
    for (int64_t tile = 0, first = 0; tile < tiles; ++tile) {
      const int64_t in_tile = count / tiles + (tile < count % tiles);
      body(first, in_tile);
      first += in_tile;
    }
  }

  cpu::GemmTask task(int64_t rows, int64_t depth, int64_t panels, const std::vector<float>& bias) {
    cpu::GemmTask task{};
    task.rows = rows;
    task.depth = depth;
    task.num_tiles = (rows + kernels().tile_rows - 1) / kernels().tile_rows;
    task.bias = bias.data();
    task.num_panels = panels;
    task.columns = panels * kernels().panel_columns - 1;
    output_.assign(rows * task.columns, -1);
    scratch_.assign(kernels().scratch_floats, NAN);
    task.output = output_.data();
    task.scratch = scratch_.data();
    return task;
  }

  // Rows in tile form, as products of integers read them.
  struct IntegerRows {
    std::vector<int8_t> integers;
    std::vector<float> scales;
    std::vector<int32_t> starts;
  };
  IntegerRows integer_rows(const Panels& panels, const std::vector<float>& tiled, int64_t rows, int64_t depth) const {
    const int64_t group = panels.form.group, groups = (depth + group - 1) / group,
                  row_bytes = cpu::dot_row_bytes(depth);
    IntegerRows made{std::vector<int8_t>(rows * row_bytes), std::vector<float>(rows * groups),
                     std::vector<int32_t>(rows * groups)};
    for_each_tile(rows, [&](int64_t first, int64_t in_tile) {
      kernels().quantize_tile({.tile = tiled.data() + first * depth,
                               .rows = in_tile,
                               .depth = depth,
                               .group = group,
                               .offset = panels.form.row_offset,
                               .integers = made.integers.data() + first * row_bytes,
                               .scales = made.scales.data() + first * groups,
                               .starts = made.starts.data() + first * groups});
    });
    return made;
  }

  // Their products with five panels, in output_.
  void multiply(const Panels& panels, const IntegerRows& made, int64_t rows, int64_t depth) {
    cpu::GemmTask task = this->task(rows, depth, 5, panels.bias);
    task.integers = made.integers.data();
    task.row_scales = made.scales.data();
    task.row_starts = made.starts.data();
    task.group = panels.form.group;
    task.panels = panels.published.data();
    task.form = &panels.form;
    panel_kernels(cpu::Panel::kPublishedDots).gemm(task);
  }

  const cpu::PanelKernels& panel_kernels(cpu::Panel panel) const {
    return kernels().panels[static_cast<size_t>(panel)];
  }

  std::vector<float> output_, scratch_;
};
INSTANTIATE_TEST_SUITE_P(Cpu, PublishedPanels, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

std::vector<float> random_rows(int64_t rows, int64_t depth) {
  std::mt19937 random(7);
  std::vector<float> values(rows * depth);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000 - 1;
  return values;
}

constexpr int64_t kDepths[] = {1, 31, 33, 129, 300, 515};
constexpr int64_t kRows[] = {1, 2, 3, 4, 7, 40};

TEST_P(PublishedPanels, GiveTheBitsOfFloatsOfTheSameValues) {
  for (const auto& [name, form] : kForms)
    for (const int64_t depth : kDepths) {
      const Panels panels(kernels(), form, depth, 5);
      for (const int64_t rows : kRows) {
        const std::vector<float> x = tiles(random_rows(rows, depth), rows, depth);
        cpu::GemmTask floats = task(rows, depth, 5, panels.bias);
        floats.input = x.data();
        floats.panels = panels.floats.data();
        panel_kernels(cpu::Panel::kFloat32).gemm(floats);
        const std::vector<float> expected = output_;
        cpu::GemmTask published = task(rows, depth, 5, panels.bias);
        published.input = x.data();
        published.panels = panels.published.data();
        published.form = &panels.form;
        panel_kernels(cpu::Panel::kPublished).gemm(published);
        ASSERT_EQ(0, std::memcmp(expected.data(), output_.data(), expected.size() * sizeof(float)))
            << name << ", depth " << depth << ", " << rows << " rows";
      }
    }
}

TEST_P(PublishedPanels, MultiplyRowsOfIntegers) {
  for (const auto& [name, form] : kForms) {
    if (!cpu::has_dots(form)) continue;
    for (const int64_t depth : kDepths) {
      const Panels panels(kernels(), form, depth, 5);
      const int64_t group = panels.form.group, groups = (depth + group - 1) / group;
      const int64_t row_bytes = cpu::dot_row_bytes(depth);
      for (const int64_t rows : kRows) {
        if (rows * depth > 8000) continue;  // what is expected takes long
        const IntegerRows made = integer_rows(panels, tiles(random_rows(rows, depth), rows, depth), rows, depth);
        multiply(panels, made, rows, depth);
        const int64_t columns = static_cast<int64_t>(output_.size()) / rows;
        for_each_tile(rows, [&](int64_t first, int64_t in_tile) {
          for (int64_t i = 0; i < in_tile; ++i)
            for (int64_t column = 0; column < columns; ++column) {
              double sum = panels.bias[column], most = std::abs(sum);
              for (int64_t k = 0; k < depth; ++k) {
                const double row = made.integers[first * row_bytes + k / 4 * in_tile * 4 + i * 4 + k % 4] *
                                   static_cast<double>(made.scales[first * groups + k / group * in_tile + i]);
                const double product =
                    row * panels.floats[(column / kernels().panel_columns * depth + k) * kernels().panel_columns +
                                        column % kernels().panel_columns];
                sum += product;
                most += std::abs(product);
              }
              const double error = std::abs(output_[(first + i) * columns + column] - sum);
              // Codes are multiplied before their offsets are taken back, which are sixteen times as large or less.
              ASSERT_FALSE(!(error <= 1e-5 * most + 1e-5))
                  << name << ", depth " << depth << ", " << rows << " rows: " << error << " of " << most;
            }
        });
      }
    }
  }
}

TEST_P(PublishedPanels, GiveARowOfIntegersTheSameBitsInEveryBatch) {
  constexpr int64_t kMost = 40;
  for (const auto& [name, form] : kForms) {
    if (!cpu::has_dots(form)) continue;
    for (const int64_t depth : {33, 300}) {
      const Panels panels(kernels(), form, depth, 5);
      const std::vector<float> plain = random_rows(kMost, depth);
      const auto multiply_first = [&](int64_t rows) {
        const std::vector<float> some(plain.begin(), plain.begin() + rows * depth);
        multiply(panels, integer_rows(panels, tiles(some, rows, depth), rows, depth), rows, depth);
      };
      multiply_first(kMost);
      const std::vector<float> all = output_;
      for (const int64_t rows : kRows) {
        multiply_first(rows);
        ASSERT_EQ(0, std::memcmp(all.data(), output_.data(), output_.size() * sizeof(float)))
            << name << ", depth " << depth << ", " << rows << " rows";
      }
    }
  }
}

TEST(PublishedForms, AreNotHeldWhereNoFormatHasThem) {
  for (const auto& [name, form] : kForms) EXPECT_TRUE(cpu::can_hold(form)) << name;
  // Groups that would share a word.
  EXPECT_FALSE(cpu::can_hold({.codes = kInteger, .bits = 5, .group = 16, .scale = ScaleKind::kFloat16}));
  EXPECT_FALSE(cpu::can_hold({.codes = CodeKind::kIq4, .bits = 4, .group = 40, .scale = ScaleKind::kFloat16}));
  EXPECT_FALSE(
      cpu::can_hold({.codes = CodeKind::kFloat8E4M3, .bits = 8, .group = 32, .scale = ScaleKind::kFloat32TimesE4M3}));
}

}  // namespace
}  // namespace moe::test
