#include "ascend/weights.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/weights/float16.h"
#include "core/weights/quantize.h"
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

void write(DataType type, float value, std::byte* to) {
  if (type == DataType::kFloat32) {
    std::memcpy(to, &value, sizeof value);
  } else {
    const uint16_t bits = type == DataType::kBFloat16 ? to_bfloat16(value) : to_float16(value);
    std::memcpy(to, &bits, sizeof bits);
  }
}

}  // namespace

ExpertTypes ExpertTypes::of(WeightType type, bool int8_rows, const SocProfile& profile) {
  const auto types = [&](DataType weight, DataType compute, DataType bias) {
    return ExpertTypes{weight, compute, bias, int8_rows, profile.blocked_weights, profile.column_multiple};
  };
  switch (type) {
    case WeightType::kFloat32:
      return types(DataType::kFloat32, DataType::kFloat32, DataType::kFloat32);
    case WeightType::kBFloat16:
      return types(DataType::kBFloat16, DataType::kBFloat16, DataType::kFloat32);
    case WeightType::kFloat16:
      return types(DataType::kFloat16, DataType::kFloat16, DataType::kFloat16);
    case WeightType::kInt8:
      return types(DataType::kInt8, DataType::kBFloat16, DataType::kFloat32);
    case WeightType::kInt4:
      break;  // how its operators pack int4 is not documented
  }
  throw Error(ErrorCode::kInternal, "A weight type without a meaning on Ascend");
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
      scaled_(types.weight == DataType::kInt8),
      matrices_(device),
      biases_(device),
      scales_(device),
      offsets_(device) {
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
  executor.parallel_for((outs + kTileColumns - 1) / kTileColumns, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> tile(kTileColumns * ins);
    std::vector<int8_t> integers(scaled_ ? kTileColumns * ins : 0);
    for (int64_t out = begin * kTileColumns; out < std::min(end * kTileColumns, outs); out += kTileColumns) {
      const int64_t count = std::min(kTileColumns, outs - out);
      read_block(from, out, count, 0, ins, tile.data());
      for (int64_t o = 0; scaled_ && o < count; ++o) {
        uint16_t scale;
        quantize(WeightType::kInt8, tile.data() + o * ins, ins, 0, integers.data() + o * ins, &scale);
        std::memcpy(scales + (first + out + o) * size_of(types_.compute), &scale, sizeof scale);
      }
      for (int64_t in = 0; in < ins; ++in)
        for (int64_t o = 0; o < count; ++o) {
          std::byte* const to = matrix + index_of(in, first + out + o) * bytes;
          if (scaled_)
            std::memcpy(to, &integers[o * ins + in], 1);
          else
            write(types_.weight, tile[o * ins + in], to);
        }
    }
  });
}

void Projections::pack_bias(const WeightVector& from, int64_t first, std::byte* biases) const {
  const std::vector<float> values = read_vector(from);
  const int64_t bytes = size_of(types_.bias);
  for (size_t i = 0; i < values.size(); ++i)
    write(types_.bias, values[i], biases + (first + static_cast<int64_t>(i)) * bytes);
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
