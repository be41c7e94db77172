#include "cpu/weights.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "core/error.h"
#include "core/weights/float16.h"
#include "core/weights/read_weights.h"

namespace moe::cpu {
namespace {

// 64 rows of a panel, and 64 values of each of its columns in the source.
constexpr int64_t kDepthBlock = 64;
constexpr size_t kCacheLine = 64;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// out[k * out_step] = in[k * in_step], for k in [0, count). Checkpoints do not promise alignment.
template <class Bits>
void copy_strided(const std::byte* in, int64_t in_step, Bits* out, int64_t out_step, int64_t count) {
  for (int64_t k = 0; k < count; ++k)
    std::memcpy(out + k * out_step, in + k * in_step * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
}

int64_t panels_for(int64_t columns, bool gated, int64_t panel_columns) {
  const int64_t per_panel = gated ? panel_columns / 2 : panel_columns;
  return (columns + per_panel - 1) / per_panel;
}

size_t round_up(size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

// The type that holds floats as they are; absent for others.
std::optional<WeightType> float_type(const WeightMatrix& matrix) {
  for (const WeightFormat& format : weight_formats())
    if (format.dtype == matrix.dtype && !matrix.scales) return format.type;
  return std::nullopt;
}

std::string name_of(const WeightMatrix& matrix) {
  if (matrix.scales.name) return *matrix.scales.name;
  return grouped_form(matrix) ? "quantised weights" : "a matrix of floats";
}

HeldAs with_form(HeldAs asked, const std::optional<GroupedForm>& form) {
  asked.form = form;
  asked.integer_products = form && asked.integer_products && has_dots(*form);
  return asked;
}

// How published weights are held, at the end of their part of a packed file.
struct FormRecord {
  static constexpr int32_t kMagic = 0x4d524f46;
  int32_t magic = 0, type = 0, codes = 0, bits = 0, group = 0, scale = 0, offsets = 0, zeros = 0, zero = 0;
  int32_t padding[7] = {};
};
static_assert(sizeof(FormRecord) == kCacheLine);

FormRecord record_of(const HeldAs& held) {
  FormRecord record;
  record.magic = FormRecord::kMagic;
  record.type = static_cast<int32_t>(held.type);
  if (!held.form) return record;
  record.codes = static_cast<int32_t>(held.form->codes);
  record.bits = held.form->bits;
  record.group = held.form->group;
  record.scale = static_cast<int32_t>(held.form->scale);
  record.offsets = held.form->offsets;
  record.zeros = held.form->zeros;
  record.zero = held.form->zero;
  return record;
}

bool is_one_of(int32_t value, std::initializer_list<int32_t> known) {
  return std::find(known.begin(), known.end(), value) != known.end();
}

// Absent where the record is none of ours.
std::optional<HeldAs> held_by(HeldAs asked, const FormRecord& record) {
  if (record.magic != FormRecord::kMagic || record.type < 0 ||
      record.type > static_cast<int32_t>(WeightType::kPublished))
    return std::nullopt;
  asked.type = static_cast<WeightType>(record.type);
  if (asked.type != WeightType::kPublished) return with_form(asked, std::nullopt);
  if (record.codes < 0 || record.codes > static_cast<int32_t>(CodeKind::kFloat8E4M3) || record.scale < 0 ||
      record.scale > static_cast<int32_t>(ScaleKind::kFloat32TimesE4M3) || !is_one_of(record.bits, {4, 5, 6, 8}) ||
      !is_one_of(record.group, {0, 16, 32, 64, 128}))
    return std::nullopt;
  return with_form(asked, GroupedForm{.codes = static_cast<CodeKind>(record.codes),
                                      .bits = record.bits,
                                      .group = record.group,
                                      .scale = static_cast<ScaleKind>(record.scale),
                                      .offsets = record.offsets != 0,
                                      .zeros = record.zeros != 0,
                                      .zero = record.zero});
}

}  // namespace

HeldAs held_as(HeldAs asked, std::span<const WeightMatrix* const> matrices) {
  if (asked.type != WeightType::kPublished) return asked;
  asked.published = true;
  std::optional<HeldAs> common;
  const WeightMatrix* first = nullptr;
  for (const WeightMatrix* const matrix : matrices) {
    if (!*matrix) continue;
    HeldAs one = with_form(asked, grouped_form(*matrix));
    if (!one.form) {
      const auto floats = float_type(*matrix);
      if (!floats)
        throw Error(ErrorCode::kCheckpoint,
                    "Expected " + name_of(*matrix) +
                        " to be in a form that can be held as it was published, got an order of inputs, groups or a "
                        "factor of another kind: `weightType` has to say how it is held");
      one.type = *floats;
    }
    if (common && !(*common == one))
      throw Error(ErrorCode::kCheckpoint, "Expected " + name_of(*matrix) + " to be of the type of " + name_of(*first) +
                                              ", for both are in one product, got another: `weightType` has to say "
                                              "how they are held");
    if (!common) first = matrix;
    common = one;
  }
  return common.value_or(HeldAs{});
}

HeldAs held_as(HeldAs asked, const PackedPart& part) {
  if (asked.type != WeightType::kPublished) return asked;
  asked.published = true;
  FormRecord record;
  if (part.bytes >= sizeof record) {
    std::memcpy(&record, static_cast<const std::byte*>(part.data) + part.bytes - sizeof record, sizeof record);
    if (const auto held = held_by(asked, record)) return *held;
  }
  throw Error(ErrorCode::kCheckpoint, "Expected the packed part `" + part.name + "` to say how it holds its weights");
}

PackedMatrices::PackedMatrices(const Kernels& kernels, HeldAs held, bool gated, int64_t matrices, int64_t columns,
                               int64_t depth)
    : PackedMatrices(kernels, held, gated, matrices, columns, depth, nullptr) {
  memory_ = AlignedBuffer(bytes_);
  base_ = memory_.data();
  std::memset(memory_.data() + bias_begin_, 0, bytes_ - bias_begin_);
  if (!held.published) return;
  const FormRecord record = record_of(held);
  std::memcpy(memory_.data() + bytes_ - sizeof record, &record, sizeof record);
}

PackedMatrices::PackedMatrices(const Kernels& kernels, HeldAs asked, bool gated, int64_t matrices, int64_t columns,
                               int64_t depth, const PackedPart& part)
    : PackedMatrices(kernels, held_as(asked, part), gated, matrices, columns, depth, part.data) {
  if (part.bytes != bytes_)
    throw Error(ErrorCode::kCheckpoint, "Expected the packed part `" + part.name + "` to have " +
                                            std::to_string(bytes_) + " bytes, got " + std::to_string(part.bytes));
}

void PackedMatrices::hold(const std::vector<int32_t>& matrices) { held_ = matrices; }

PackedMatrices::PackedMatrices(const Kernels& kernels, HeldAs held, bool gated, int64_t matrices, int64_t columns,
                               int64_t depth, const void* base)
    : kernels_(&kernels),
      held_as_(held),
      format_(held.form ? nullptr : &format_of(held.type)),
      layout_(&layout_of(held.type, held.integer_products)),
      published_(held.form ? published_form(*held.form, kernels, depth) : PublishedForm{}),
      gated_(gated),
      scale_per_feature_(held.group == 0),
      group_(held.form         ? published_.group
             : held.group == 0 ? kRowsPerFeatureScale
                               : held.group),
      lanes_(kernels.lanes),
      panel_columns_(kernels.panel_columns),
      matrices_(matrices),
      columns_(columns),
      depth_(depth),
      num_panels_(panels_for(columns, gated, kernels.panel_columns)),
      panel_bytes_(held.form ? published_.panel_bytes
                             : bytes_of_rows(depth_) +
                                   format_->num_groups(depth_, group_) * panel_columns_ * format_->scale_bytes),
      bias_begin_(round_up(matrices_ * num_panels_ * panel_bytes_)),
      bytes_(bias_begin_ + round_up(matrices_ * num_panels_ * panel_columns_ * sizeof(float)) +
             (held.published ? sizeof(FormRecord) : 0)),
      base_(static_cast<const std::byte*>(base)) {}

PackedMatrices::Source PackedMatrices::source_of(int64_t panel, int64_t column) const {
  if (!gated_) return {false, panel * panel_columns_ + column};
  const int64_t half = panel_columns_ / 2;
  return {column < half, panel * half + column % half};
}

int64_t PackedMatrices::position_of(int64_t column) const {
  if (!layout_->paired) return column;
  const int64_t pair = column / (2 * lanes_), within = column % (2 * lanes_);
  return pair * 2 * lanes_ + 2 * (within % lanes_) + within / lanes_;
}

// One register's columns at a time: they come from one matrix, and stand `step` apart in the panel. A block of depth
// keeps both sides in L1, and a copy runs along the source's denser dimension.
template <class Code>
void PackedMatrices::pack_floats(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  auto* const out = reinterpret_cast<Code*>(at(matrix, panel));
  const int64_t step = position_of(1) - position_of(0);
  std::vector<float> widened(lanes_ * kDepthBlock);
  std::vector<Code> codes(widened.size());
  for (int64_t block = 0; block < depth_; block += kDepthBlock) {
    const int64_t depth = std::min(kDepthBlock, depth_ - block);
    for (int64_t column = 0; column < panel_columns_; column += lanes_) {
      const Source source = source_of(panel, column);
      const WeightMatrix& from = source.gate ? gate : up;
      const int64_t valid = std::clamp<int64_t>(columns_ - source.feature, 0, lanes_);
      const auto element = [&](int64_t l, int64_t k) {
        const int64_t index = (from.first_out + source.feature + l) * from.out_stride + (block + k) * from.in_stride;
        return static_cast<const std::byte*>(from.data) + index * static_cast<int64_t>(sizeof(Code));
      };
      Code* const to = out + block * panel_columns_ + position_of(column);

      if (from.dtype != format_->dtype || from.scales || from.order) {
        read_block(from, source.feature, valid, block, depth, widened.data());
        format_->encode(widened.data(), valid * depth, 0, codes.data(), nullptr);
        for (int64_t l = 0; l < valid; ++l)
          for (int64_t k = 0; k < depth; ++k) to[l * step + k * panel_columns_] = codes[l * depth + k];
      } else if (std::abs(from.out_stride) < std::abs(from.in_stride)) {
        for (int64_t k = 0; k < depth; ++k)
          copy_strided(element(0, k), from.out_stride, to + k * panel_columns_, step, valid);
      } else {
        for (int64_t l = 0; l < valid; ++l)
          copy_strided(element(l, 0), from.in_stride, to + l * step, panel_columns_, depth);
      }
      for (int64_t l = valid; l < lanes_; ++l)
        for (int64_t k = 0; k < depth; ++k) to[l * step + k * panel_columns_] = {};
    }
  }
}

void PackedMatrices::put_column(std::byte* panel, int64_t column, const int8_t* codes, const uint16_t* scales) const {
  const size_t scales_bytes = panel_columns_ * sizeof(uint16_t);
  for (int64_t row = 0; row < depth_; row += group_, ++scales) {
    std::memcpy(panel + position_of(column) * sizeof(uint16_t), scales, sizeof *scales);
    const int64_t rows = std::min(group_, depth_ - row);
    layout_->put(*kernels_, panel + scales_bytes, column, codes + row, rows);
    panel += scales_bytes + bytes_of_rows(rows);
  }
}

// A whole output feature is encoded at a time, a register's worth of them is read together.
void PackedMatrices::pack_groups(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  std::byte* const out = at(matrix, panel);
  std::memset(out, 0, panel_bytes_);
  const int64_t groups = divide_up(depth_, group_);
  std::vector<float> widened(lanes_ * depth_);
  std::vector<int8_t> codes(depth_);
  std::vector<uint16_t> scales(groups);
  for (int64_t column = 0; column < panel_columns_; column += lanes_) {
    const Source source = source_of(panel, column);
    const int64_t valid = std::clamp<int64_t>(columns_ - source.feature, 0, lanes_);
    const WeightMatrix& from = source.gate ? gate : up;
    const int64_t group = scale_per_feature_ ? 0 : group_;
    read_block(from, source.feature, valid, 0, depth_, widened.data());
    for (int64_t l = 0; l < valid; ++l) {
      const float* const weights = widened.data() + l * depth_;
      if (from.importance && format_->encode_weighted)
        format_->encode_weighted(weights, from.importance, depth_, group, codes.data(), scales.data());
      else
        kernels().encode(weights, depth_, group, codes.data(), scales.data());
      if (scale_per_feature_) std::fill(scales.begin(), scales.end(), scales.front());
      put_column(out, column + l, codes.data(), scales.data());
    }
  }
}

void PackedMatrices::pack_published(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  std::byte* const out = at(matrix, panel);
  std::memset(out, 0, panel_bytes_);
  std::vector<uint8_t> codes(depth_);
  std::vector<GroupFactors> factors(divide_up(depth_, group_));
  for (int64_t column = 0; column < panel_columns_; ++column) {
    const Source source = source_of(panel, column);
    if (source.feature >= columns_) continue;
    const WeightMatrix& from = source.gate ? gate : up;
    read_grouped(from, source.feature, codes.data(), factors.data());
    if (!std::ranges::all_of(factors, [&](const GroupFactors& each) { return is_finite(*held_as_.form, each); }))
      throw Error(ErrorCode::kCheckpoint, "Expected the scales of " + name_of(from) +
                                              " to be finite numbers, got another in output feature " +
                                              std::to_string(source.feature));
    put_published(*held_as_.form, published_, panel_columns_, depth_, out, column, codes.data(), factors.data());
  }
}

void PackedMatrices::pack_panel(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  if (held_as_.form) return pack_published(matrix, panel, gate, up);
  if (format_->has_groups()) return pack_groups(matrix, panel, gate, up);
  return format_->code_bytes() == 4 ? pack_floats<uint32_t>(matrix, panel, gate, up)
                                    : pack_floats<uint16_t>(matrix, panel, gate, up);
}

void PackedMatrices::pack_bias(int64_t matrix, const WeightVector& gate, const WeightVector& up) {
  auto* const biases = reinterpret_cast<float*>(memory_.data() + bias_begin_);
  for (int64_t panel = 0; panel < num_panels_; ++panel)
    for (int64_t column = 0; column < panel_columns_; ++column) {
      const Source source = source_of(panel, column);
      const WeightVector& from = source.gate ? gate : up;
      if (from && source.feature < columns_)
        biases[(matrix * num_panels_ + panel) * panel_columns_ + column] =
            read_float(from.data, from.dtype, source.feature * from.stride);
    }
}

}  // namespace moe::cpu
