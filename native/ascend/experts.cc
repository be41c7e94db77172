#include "ascend/experts.h"

namespace moe::ascend {
namespace {

using cann::DataType;

}  // namespace

ExpertStage::ExpertStage(Npu& device, OperatorQueue& queue)
    : device_(device),
      operators_(device.cann().operators),
      queue_(queue),
      activation_(device, queue),
      narrowed_(device),
      padded_(device),
      up_(device),
      activated_(device),
      down_(device),
      stripped_(device),
      quantized_(device),
      scales_(device) {}

Array ExpertStage::narrow(const ExpertTypes& types, const PaddedColumns& columns, Matrix hidden) {
  const Dims dims{hidden.rows, hidden.cols};
  const Array wide = array_of(hidden.data, DataType::kFloat32, dims);
  const DataType type = types.compute;
  if (type == DataType::kFloat32) return wide;
  const Array narrowed = array_of(narrowed_.reserve_bytes(dims.product() * size_of(type)), type, dims);
  queue_.run(operators_.cast, wide, type, narrowed);
  return widen_columns(columns, narrowed);
}

Array ExpertStage::widen_columns(const PaddedColumns& columns, const Array& x) {
  if (columns.padded == x.dims.values[1]) return x;
  const Dims dims{x.dims.values[0], columns.padded};
  const Array out = array_of(padded_.reserve_bytes(dims.product() * size_of(x.type)), x.type, dims);
  queue_.run(operators_.index_select, x, 1, array_of(columns.widening.data(), DataType::kInt64, {columns.padded}), out);
  return out;
}

Array ExpertStage::narrow_columns(const PaddedColumns& columns, const Array& x, void* to) {
  const Array out = array_of(to, x.type, {x.dims.values[0], columns.columns});
  queue_.run(operators_.index_select, x, 1, array_of(columns.narrowing.data(), DataType::kInt64, {columns.columns}),
             out);
  return out;
}

void ExpertStage::run(const AscendExperts& experts, const Array& x, const Array& counts, float* out) {
  const DataType type = experts.types.compute;
  const int64_t rows = x.dims.values[0];
  const auto scratch = [&](DeviceScratch& memory, int64_t columns) {
    return array_of(memory.reserve_bytes(rows * columns * size_of(type)), type, {rows, columns});
  };
  const Array up = scratch(up_, experts.up.columns()), activated = scratch(activated_, experts.down.in());
  multiply(experts.up, x, counts, up, experts.types.int8_rows);
  activation_.run(experts.spec.activation, up, activated);
  multiply_out(experts.down, experts.types, experts.hidden, activated, counts, out);
}

void ExpertStage::linear(const AscendLinear& linear, const Array& x, const Array& counts, float* out) {
  multiply_out(linear.product, linear.types, linear.out, x, counts, out);
}

void ExpertStage::multiply_out(const Projections& projections, const ExpertTypes& types, const PaddedColumns& columns,
                               const Array& x, const Array& counts, float* out) {
  const int64_t rows = x.dims.values[0], padded = projections.columns();
  const Array result = array_of(out, DataType::kFloat32, {rows, columns.columns});
  const bool is_padded = padded != columns.columns;
  if (types.compute == DataType::kFloat32 && !is_padded)
    return multiply(projections, x, counts, result, types.int8_rows);
  const auto scratch = [&](DeviceScratch& memory, int64_t width) {
    return memory.reserve_bytes(rows * width * size_of(types.compute));
  };
  Array product = array_of(scratch(down_, padded), types.compute, {rows, padded});
  multiply(projections, x, counts, product, types.int8_rows);
  if (is_padded) product = narrow_columns(columns, product, scratch(stripped_, columns.columns));
  queue_.run(operators_.cast, product, DataType::kFloat32, result);
}

void ExpertStage::multiply(const Projections& projections, const Array& x, const Array& counts, const Array& out,
                           bool int8_rows) {
  const std::optional<Array> none;
  std::optional<Array> per_token;
  Array in = x;
  if (int8_rows) {
    const Quantized quantized = quantize(x);
    in = quantized.values;
    per_token = quantized.scales;
  }
  const std::optional<Array> scale = int8_rows ? projections.scale() : none;
  const std::optional<Array> weight_scale = int8_rows ? none : projections.scale();
  const std::optional<Array> weight_offset = int8_rows ? none : projections.offset();
  if (operators_.grouped_matmul_v5)
    queue_.run(operators_.grouped_matmul_v5, in, projections.weight(), projections.bias(), scale, nullptr, weight_scale,
               weight_offset, per_token, counts, nullptr, nullptr, nullptr, cann::kOneOutput, cann::kSplitRows,
               cann::ExpertCounts::kCount, cann::kNoActivation, nullptr, out, nullptr, nullptr);
  else
    queue_.run(operators_.grouped_matmul_v4, in, projections.weight(), projections.bias(), scale, nullptr, weight_scale,
               weight_offset, per_token, counts, nullptr, nullptr, nullptr, cann::kOneOutput, cann::kSplitRows,
               cann::ExpertCounts::kCount, cann::kNoActivation, out, nullptr, nullptr);
}

ExpertStage::Quantized ExpertStage::quantize(const Array& x) {
  const int64_t rows = x.dims.values[0];
  const Quantized to{array_of(quantized_.reserve_bytes(x.dims.product()), DataType::kInt8, x.dims),
                     array_of(scales_.reserve<float>(rows), DataType::kFloat32, {rows})};
  queue_.run(operators_.dynamic_quant, x, nullptr, to.values, to.scales);
  return to;
}

int64_t ExpertStage::scratch_per_row(const AscendExperts& experts) {
  const int64_t columns = experts.up.in() + experts.up.columns() + experts.down.in() + 2 * experts.down.columns();
  return columns * size_of(experts.types.compute) +
         ActivationStage::scratch_per_row(experts.spec.activation, experts.down.in());
}

int64_t ExpertStage::scratch_per_row(const AscendLinear& linear) {
  return (linear.product.in() + 2 * linear.product.columns()) * size_of(linear.types.compute);
}

}  // namespace moe::ascend
