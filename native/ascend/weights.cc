#include "ascend/weights.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/weight_format.h"
#include "core/weights/read_weights.h"

namespace moe::ascend {
namespace {

using cann::DataType;

constexpr int64_t kTileColumns = 32;                           // out features packed at a time
constexpr int64_t kBlockRows = 16, kBlockColumns = 16;         // of FRACTAL_NZ, for elements of two bytes
constexpr int64_t kMostExperts = 1024, kMostFeatures = 65535;  // of a grouped product whose weights are one tensor

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

[[noreturn]] void refuse_size(const std::string& expected, int64_t got) {
  throw Error(ErrorCode::kConfig, "Expected " + expected + " on Ascend, got " + std::to_string(got) +
                                      ": its grouped products take no more");
}

// What the device does with a format.
struct AscendFormat {
  WeightType type;
  std::span<const int32_t> groups;
  std::span<const RowType> row_types;
  DataType weight, compute, bias;
};

// How operators pack int4 is not documented, and of int8 weights they take one scale per output feature.
constexpr int32_t kWholeFeatures[] = {0};
constexpr RowType kInt8Rows[] = {RowType::kFloat32, RowType::kInt8};
constexpr AscendFormat kFormats[] = {
    {WeightType::kFloat32, {}, kFloatRows, DataType::kFloat32, DataType::kFloat32, DataType::kFloat32},
    {WeightType::kBFloat16, {}, kFloatRows, DataType::kBFloat16, DataType::kBFloat16, DataType::kFloat32},
    {WeightType::kFloat16, {}, kFloatRows, DataType::kFloat16, DataType::kFloat16, DataType::kFloat16},
    {WeightType::kInt8, kWholeFeatures, kInt8Rows, DataType::kInt8, DataType::kBFloat16, DataType::kFloat32},
};

}  // namespace

ExpertTypes ExpertTypes::of(WeightType held, bool int8_rows, const SocProfile& profile) {
  const auto& [type, groups, row_types, weight, compute, bias] = find_format(kFormats, held);
  return {type, weight, compute, bias, int8_rows, profile.blocked_weights, profile.column_multiple};
}

std::vector<HeldWeights> held_weights(const SocProfile& profile) {
  std::vector<HeldWeights> held;
  for (const AscendFormat& format : kFormats)
    if (profile.bfloat16 || format.compute == DataType::kFloat16)
      held.push_back({format.type, format.groups, format.row_types});
  return held;
}

Projections::Projections(Npu& device, const ExpertTypes& types, int64_t experts, int64_t in, int64_t out, bool gated,
                         bool biased)
    : device_(device),
      types_(types),
      experts_(experts),
      in_(round_up(in, types.column_multiple)),
      half_(round_up(out, types.column_multiple)),
      columns_(gated ? 2 * half_ : half_),
      biased_(biased),
      scaled_(format_of(types.type).has_groups()) {
  if (experts_ > kMostExperts)
    refuse_size("at most " + std::to_string(kMostExperts) + " experts on one device", experts_);
  const std::string features = "at most " + std::to_string(kMostFeatures);
  if (in_ > kMostFeatures) refuse_size(features + " in features of a projection", in_);
  if (columns_ > kMostFeatures)
    refuse_size(features + " out features of " + (gated ? "gate and up together" : "a projection"), columns_);
  matrices_.reserve_bytes(experts_ * matrix_bytes());
  if (biased_) biases_.reserve_bytes(experts_ * columns_ * size_of(types_.bias));
  if (!scaled_) return;
  const size_t bytes = experts_ * columns_ * size_of(types_.compute);
  scales_.reserve_bytes(bytes);
  device_.clear(offsets_.reserve_bytes(bytes), bytes);
}

size_t Projections::vector_bytes() const {
  return columns_ * ((biased_ ? size_of(types_.bias) : 0) + (scaled_ ? size_of(types_.compute) : 0));
}

void Projections::pack(const Expert& expert, Executor& executor, std::byte* matrix, std::byte* vectors) const {
  std::byte* const scales = vectors + (biased_ ? columns_ * size_of(types_.bias) : 0);
  if (types_.column_multiple > 1) std::memset(matrix, 0, matrix_bytes());
  std::memset(vectors, 0, vector_bytes());
  const int64_t up = expert.gate ? half_ : 0;
  if (expert.gate) pack_matrix(*expert.gate, 0, executor, matrix, scales);
  pack_matrix(*expert.up, up, executor, matrix, scales);
  if (!biased_) return;
  if (expert.gate_bias) pack_bias(*expert.gate_bias, 0, vectors);
  if (expert.up_bias) pack_bias(*expert.up_bias, up, vectors);
}

void Projections::pack_matrix(const WeightMatrix& from, int64_t first, Executor& executor, std::byte* matrix,
                              std::byte* scales) const {
  const int64_t outs = from.out_features, ins = from.in_features, bytes = size_of(types_.weight);
  const auto encode = format_of(types_.type).encode;
  executor.parallel_for((outs + kTileColumns - 1) / kTileColumns, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> tile(kTileColumns * ins);
    std::vector<std::byte> codes(kTileColumns * ins * bytes);
    for (int64_t out = begin * kTileColumns; out < std::min(end * kTileColumns, outs); out += kTileColumns) {
      const int64_t count = std::min(kTileColumns, outs - out);
      read_block(from, out, count, 0, ins, tile.data());
      for (int64_t o = 0; o < count; ++o)
        encode(tile.data() + o * ins, ins, 0, codes.data() + o * ins * bytes,
               scaled_ ? scales + (first + out + o) * size_of(types_.compute) : nullptr);
      for (int64_t in = 0; in < ins; ++in)
        for (int64_t o = 0; o < count; ++o)
          std::memcpy(matrix + index_of(in, first + out + o) * bytes, codes.data() + (o * ins + in) * bytes, bytes);
    }
  });
}

void Projections::pack_bias(const WeightVector& from, int64_t first, std::byte* biases) const {
  const std::vector<float> values = read_vector(from);
  const auto type = types_.bias == DataType::kFloat32 ? WeightType::kFloat32 : WeightType::kFloat16;
  format_of(type).encode(values.data(), static_cast<int64_t>(values.size()), 0, biases + first * size_of(types_.bias),
                         nullptr);
}

// FRACTAL_NZ: blocks of 16 x 16, row-major inside, stand in columns of blocks.
int64_t Projections::index_of(int64_t in, int64_t column) const {
  if (!types_.blocked) return in * columns_ + column;
  const int64_t block = column / kBlockColumns * (in_ / kBlockRows) + in / kBlockRows;
  return (block * kBlockRows + in % kBlockRows) * kBlockColumns + column % kBlockColumns;
}

void Projections::place(int64_t index, const std::byte* matrix, const std::byte* vectors) {
  const auto at = [&](const DeviceScratch& memory, size_t bytes) {
    return static_cast<std::byte*>(memory.data()) + index * bytes;
  };
  device_.copy_to_device(at(matrices_, matrix_bytes()), matrix, matrix_bytes());
  const size_t bias_bytes = biased_ ? columns_ * size_of(types_.bias) : 0;
  const size_t scale_bytes = scaled_ ? columns_ * size_of(types_.compute) : 0;
  if (biased_) device_.copy_to_device(at(biases_, bias_bytes), vectors, bias_bytes);
  if (scaled_) device_.copy_to_device(at(scales_, scale_bytes), vectors + bias_bytes, scale_bytes);
}

size_t Projections::bytes() const { return experts_ * (matrix_bytes() + vector_bytes()); }

Array Projections::weight() const {
  Array array = array_of(matrices_.data(), types_.weight, {experts_, in_, columns_});
  if (types_.blocked) {
    array.format = cann::Format::kFractalNZ;
    array.storage = {experts_, columns_ / kBlockColumns, in_ / kBlockRows, kBlockRows, kBlockColumns};
  }
  return array;
}

std::optional<Array> Projections::bias() const {
  if (!biased_) return std::nullopt;
  return array_of(biases_.data(), types_.bias, {experts_, columns_});
}

std::optional<Array> Projections::scale() const {
  if (!scaled_) return std::nullopt;
  return array_of(scales_.data(), types_.compute, {experts_, columns_});
}

std::optional<Array> Projections::offset() const {
  if (!scaled_) return std::nullopt;
  return array_of(offsets_.data(), types_.compute, {experts_, columns_});
}

}  // namespace moe::ascend
