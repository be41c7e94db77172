#include "cpu/weights.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "core/error.h"
#include "core/weights/float16.h"
#include "core/weights/integers.h"
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

// Bytes of `rows` rows of a panel, without scales.
size_t bytes_of_rows(const PanelKernels& kernels, int64_t rows) {
  return divide_up(rows, kernels.rows) * kernels.rows_bytes;
}

size_t round_up(size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

// Of a matrix whose rows are scattered: the group of each.
size_t groups_bytes_of(int64_t depth) { return round_up(depth * sizeof(int32_t)); }

// The type that holds floats as they are; absent for others.
std::optional<WeightType> float_type(const WeightMatrix& matrix) {
  for (const WeightFormat& format : weight_formats())
    if (format.dtype == matrix.dtype && !matrix.scales) return format.type;
  return std::nullopt;
}

HeldAs with_form(HeldAs asked, const std::optional<GroupedForm>& form) {
  asked.form = form;
  if (asked.row_type == RowType::kInt8 && !(form && has_dots(*form))) asked.row_type = RowType::kFloat32;
  return asked;
}

HeldAs held_as(const HeldAs& asked, const WeightMatrix& matrix) {
  const std::optional<GroupedForm> form = grouped_form(matrix);
  if (!form || !can_hold(*form)) {
    HeldAs held = with_form(asked, std::nullopt);
    held.type = float_type(matrix).value_or(WeightType::kFloat32);
    return held;
  }
  HeldAs held = with_form(asked, form);
  for (int64_t i = 0; form->ordered && i < matrix.in_features; ++i)
    held.group_of_input.push_back(static_cast<int32_t>(group_of(matrix.scales, i)));
  return held;
}

// How a published matrix is held: of each there is one, at the end of the part of a packed file.
struct FormRecord {
  static constexpr int32_t kMagic = 0x4d524f46;
  int32_t magic = 0, type = 0, codes = 0, bits = 0, group = 0, scale = 0, offsets = 0, zeros = 0, zero = 0;
  int32_t ordered = 0, divides = 0;
  int32_t padding[5] = {};
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
  record.ordered = held.form->ordered;
  record.divides = held.form->divides;
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
      record.group < 0)
    return std::nullopt;
  const GroupedForm form{.codes = static_cast<CodeKind>(record.codes),
                         .bits = record.bits,
                         .group = record.group,
                         .ordered = record.ordered != 0,
                         .scale = static_cast<ScaleKind>(record.scale),
                         .divides = record.divides != 0,
                         .offsets = record.offsets != 0,
                         .zeros = record.zeros != 0,
                         .zero = record.zero};
  return can_hold(form) ? std::optional(with_form(asked, form)) : std::nullopt;
}

// As a part that was packed before holds them.
std::vector<HeldAs> held_as(HeldAs asked, int64_t matrices, const PackedPart& part) {
  asked.published = asked.type == WeightType::kPublished;
  std::vector<HeldAs> held(matrices, asked);
  if (!asked.published) return held;
  const size_t bytes = held.size() * sizeof(FormRecord);
  for (size_t matrix = 0; matrix < held.size(); ++matrix) {
    std::optional<HeldAs> one;
    if (part.bytes >= bytes) {
      FormRecord record;
      std::memcpy(&record, static_cast<const std::byte*>(part.data) + part.bytes - bytes + matrix * sizeof record,
                  sizeof record);
      one = held_by(asked, record);
    }
    if (!one)
      throw Error(ErrorCode::kCheckpoint,
                  "Expected the packed part `" + part.name + "` to say how it holds its weights");
    held[matrix] = *one;
  }
  return held;
}

}  // namespace

std::vector<HeldAs> held_as(const HeldAs& asked, std::span<const WeightMatrix* const> matrices) {
  std::vector<HeldAs> held(matrices.size(), asked);
  if (asked.type != WeightType::kPublished) return held;
  for (size_t matrix = 0; matrix < held.size(); ++matrix) {
    held[matrix].published = true;
    held[matrix] = held_as(held[matrix], *matrices[matrix]);
  }
  return held;
}

PackedMatrices::PackedMatrices(const Kernels& kernels, std::span<const HeldAs> held, bool gated, int64_t columns,
                               int64_t depth)
    : PackedMatrices(kernels, held, gated, columns, depth, nullptr) {
  memory_ = AlignedBuffer(bytes_);
  base_ = memory_.data();
  std::memset(memory_.data() + bias_begin_, 0, bytes_ - bias_begin_);
  for_each_scattered([&](Place& place, size_t at) {
    auto* const groups = reinterpret_cast<int32_t*>(memory_.data() + at);
    // They stand beside the weights from here on.
    const std::vector<int32_t> group_of_input = std::move(place.held.group_of_input);
    for (int64_t row = 0; row < depth_; ++row)
      groups[row] = place.held.form->ordered ? group_of_input[row] : static_cast<int32_t>(row / place.held.form->group);
    place.published.group_of_row = groups;
  });
  for (size_t matrix = 0; matrix < held.size() && held.front().published; ++matrix) {
    const FormRecord record = record_of(held[matrix]);
    std::memcpy(memory_.data() + bytes_ - (held.size() - matrix) * sizeof record, &record, sizeof record);
  }
}

PackedMatrices::PackedMatrices(const Kernels& kernels, const HeldAs& asked, bool gated, int64_t matrices,
                               int64_t columns, int64_t depth, const PackedPart& part)
    : PackedMatrices(kernels, held_as(asked, matrices, part), gated, columns, depth, part.data) {
  if (part.bytes != bytes_)
    throw Error(ErrorCode::kCheckpoint, "Expected the packed part `" + part.name + "` to have " +
                                            std::to_string(bytes_) + " bytes, got " + std::to_string(part.bytes));
  for_each_scattered([&](Place& place, size_t at) {
    const auto* const groups = reinterpret_cast<const int32_t*>(base_ + at);
    const int64_t count = place.held.form->groups(depth_);
    if (std::any_of(groups, groups + depth_, [&](int32_t group) { return group < 0 || group >= count; }))
      throw Error(ErrorCode::kCheckpoint, "Expected the packed part `" + part.name +
                                              "` to have inputs in groups from 0 to " + std::to_string(count - 1));
    place.published.group_of_row = groups;
  });
}

void PackedMatrices::hold(const std::vector<int32_t>& matrices) { held_ = matrices; }

PackedMatrices::PackedMatrices(const Kernels& kernels, std::span<const HeldAs> held, bool gated, int64_t columns,
                               int64_t depth, const void* base)
    : kernels_(&kernels),
      gated_(gated),
      lanes_(kernels.lanes),
      panel_columns_(kernels.panel_columns),
      columns_(columns),
      depth_(depth),
      num_panels_(panels_for(columns, gated, kernels.panel_columns)),
      base_(static_cast<const std::byte*>(base)) {
  const bool published = held.front().published;
  size_t end = 0, groups_bytes = 0;
  for (const HeldAs& each : held) {
    Place& place = places_.emplace_back(this->place(each));
    place.begin = end;
    end += num_panels_ * place.panel_bytes;
    if (published) end = round_up(end);
    if (place.published.scattered) groups_bytes += groups_bytes_of(depth_);
    most_panel_bytes_ = std::max(most_panel_bytes_, place.panel_bytes);
    if (each.row_type == RowType::kInt8) most_groups_ = std::max(most_groups_, divide_up(depth_, place.group));
  }
  bias_begin_ = round_up(end);
  groups_begin_ = bias_begin_ + round_up(held.size() * num_panels_ * panel_columns_ * sizeof(float));
  bytes_ = groups_begin_ + groups_bytes + (published ? held.size() * sizeof(FormRecord) : 0);
}

PackedMatrices::Place PackedMatrices::place(const HeldAs& held) const {
  Place place{.held = held,
              .format = held.form ? nullptr : &format_of(held.type),
              .layout = &layout_of(held.type, held.row_type),
              .published = held.form ? published_form(*held.form, *kernels_, depth_) : PublishedForm{},
              .group = 0,
              .panel_bytes = 0,
              .begin = 0};
  place.group = held.form ? place.published.group : held.group == 0 ? kRowsPerFeatureScale : held.group;
  place.panel_bytes = held.form
                          ? place.published.panel_bytes
                          : bytes_of_rows(kernels_of(place), depth_) + place.format->num_groups(depth_, place.group) *
                                                                           panel_columns_ * place.format->scale_bytes;
  return place;
}

template <class Each>
void PackedMatrices::for_each_scattered(const Each& each) {
  size_t at = groups_begin_;
  for (Place& place : places_) {
    if (!place.published.scattered) continue;
    each(place, at);
    at += groups_bytes_of(depth_);
  }
}

size_t PackedMatrices::bytes() const {
  if (held_.empty()) return bytes_;
  size_t bytes = 0;
  for (const int32_t matrix : held_)
    bytes += num_panels_ * (places_[matrix].panel_bytes + panel_columns_ * sizeof(float));
  return bytes;
}

PackedMatrices::Source PackedMatrices::source_of(int64_t panel, int64_t column) const {
  if (!gated_) return {false, panel * panel_columns_ + column};
  const int64_t half = panel_columns_ / 2;
  return {column < half, panel * half + column % half};
}

int64_t PackedMatrices::position_of(const PanelLayout& layout, int64_t column) const {
  if (!layout.paired) return column;
  const int64_t pair = column / (2 * lanes_), within = column % (2 * lanes_);
  return pair * 2 * lanes_ + 2 * (within % lanes_) + within / lanes_;
}

// One register's columns at a time: they come from one matrix, and stand `step` apart in the panel. A block of depth
// keeps both sides in L1, and a copy runs along the source's denser dimension.
template <class Code>
void PackedMatrices::pack_floats(const Place& place, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up,
                                 std::byte* panel_begin) {
  auto* const out = reinterpret_cast<Code*>(panel_begin);
  const PanelLayout& layout = *place.layout;
  const int64_t step = position_of(layout, 1) - position_of(layout, 0);
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
      Code* const to = out + block * panel_columns_ + position_of(layout, column);

      if (from.dtype != place.format->dtype || from.scales || from.order) {
        read_block(from, source.feature, valid, block, depth, widened.data());
        place.format->encode(widened.data(), valid * depth, 0, codes.data(), nullptr);
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

void PackedMatrices::put_column(const Place& place, std::byte* panel, int64_t column, const int8_t* codes,
                                const uint16_t* scales) const {
  const size_t scales_bytes = panel_columns_ * sizeof(uint16_t);
  for (int64_t row = 0; row < depth_; row += place.group, ++scales) {
    std::memcpy(panel + position_of(*place.layout, column) * sizeof(uint16_t), scales, sizeof *scales);
    const int64_t rows = std::min(place.group, depth_ - row);
    place.layout->put(*kernels_, panel + scales_bytes, column, codes + row, rows);
    panel += scales_bytes + bytes_of_rows(kernels_of(place), rows);
  }
}

// A whole output feature is encoded at a time, a register's worth of them is read together.
void PackedMatrices::pack_groups(const Place& place, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up,
                                 std::byte* out) {
  const bool scale_per_feature = place.held.group == 0;  // every group of an output feature has the same scale
  const int64_t groups = divide_up(depth_, place.group);
  std::vector<float> widened(lanes_ * depth_);
  std::vector<int8_t> codes(depth_);
  std::vector<uint16_t> scales(groups);
  for (int64_t column = 0; column < panel_columns_; column += lanes_) {
    const Source source = source_of(panel, column);
    const int64_t valid = std::clamp<int64_t>(columns_ - source.feature, 0, lanes_);
    const WeightMatrix& from = source.gate ? gate : up;
    read_block(from, source.feature, valid, 0, depth_, widened.data());
    for (int64_t l = 0; l < valid; ++l) {
      const float* const weights = widened.data() + l * depth_;
      if (from.importance && place.format->encode_weighted)
        place.format->encode_weighted(weights, from.importance, depth_, place.held.group, codes.data(), scales.data());
      else
        kernels_of(place).encode(weights, depth_, place.held.group, codes.data(), scales.data());
      if (scale_per_feature) std::fill(scales.begin(), scales.end(), scales.front());
      put_column(place, out, column + l, codes.data(), scales.data());
    }
  }
}

void PackedMatrices::pack_published(const Place& place, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up,
                                    std::byte* out) {
  const GroupedForm& form = *place.held.form;
  std::vector<uint8_t> codes(depth_);
  std::vector<GroupFactors> factors(form.groups(depth_));
  for (int64_t column = 0; column < panel_columns_; ++column) {
    const Source source = source_of(panel, column);
    if (source.feature >= columns_) continue;
    const WeightMatrix& from = source.gate ? gate : up;
    read_grouped(from, source.feature, codes.data(), factors.data());
    put_published(form, place.published, panel_columns_, depth_, out, column, codes.data(), factors.data());
  }
}

void PackedMatrices::pack_panel(int64_t matrix, int64_t panel, const WeightMatrix& gate, const WeightMatrix& up) {
  const Place& place = places_[matrix];
  std::byte* const to = memory_.data() + place.begin + panel * place.panel_bytes;
  if (place.format && !place.format->has_groups())
    return place.format->code_bytes() == 4 ? pack_floats<uint32_t>(place, panel, gate, up, to)
                                           : pack_floats<uint16_t>(place, panel, gate, up, to);
  std::memset(to, 0, place.panel_bytes);
  return place.format ? pack_groups(place, panel, gate, up, to) : pack_published(place, panel, gate, up, to);
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
