#include "ascend/experts.h"

namespace moe::ascend {
namespace {

using cann::DataType;

}  // namespace

ExpertStage::ExpertStage(Npu& device, OperatorQueue& queue)
    : operators_(device.cann().operators),
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

Array ExpertStage::narrow(const AscendExperts& experts, Matrix hidden) {
  const Dims dims{hidden.rows, hidden.cols};
  const Array wide = array_of(hidden.data, DataType::kFloat32, dims);
  const DataType type = experts.types.compute;
  if (type == DataType::kFloat32) return wide;
  const Array narrowed = array_of(narrowed_.reserve_bytes(dims.product() * size_of(type)), type, dims);
  queue_.run(operators_.cast, wide, type, narrowed);
  return widen_columns(experts, narrowed);
}

Array ExpertStage::widen_columns(const AscendExperts& experts, const Array& x) {
  if (experts.padded_hidden == x.dims.values[1]) return x;
  const Dims dims{x.dims.values[0], experts.padded_hidden};
  const Array out = array_of(padded_.reserve_bytes(dims.product() * size_of(x.type)), x.type, dims);
  queue_.run(operators_.index_select, x, 1,
             array_of(experts.widening.data(), DataType::kInt64, {experts.padded_hidden}), out);
  return out;
}

Array ExpertStage::narrow_columns(const AscendExperts& experts, const Array& x, void* to) {
  const int64_t hidden = experts.spec.hidden_size;
  const Array out = array_of(to, x.type, {x.dims.values[0], hidden});
  queue_.run(operators_.index_select, x, 1, array_of(experts.narrowing.data(), DataType::kInt64, {hidden}), out);
  return out;
}

void ExpertStage::run(const AscendExperts& experts, const Array& x, const Array& counts, float* out) {
  const DataType type = experts.types.compute;
  const int64_t rows = x.dims.values[0], width = experts.down.in(), hidden = experts.spec.hidden_size;
  const bool padded = experts.down.columns() != hidden;
  const auto scratch = [&](DeviceScratch& memory, int64_t columns) {
    return array_of(memory.reserve_bytes(rows * columns * size_of(type)), type, {rows, columns});
  };
  const Array result = array_of(out, DataType::kFloat32, {rows, hidden});
  const Array up = scratch(up_, experts.up.columns()), activated = scratch(activated_, width);
  const bool direct = type == DataType::kFloat32 && !padded;
  Array down = direct ? result : scratch(down_, experts.down.columns());

  multiply(experts.up, x, counts, up, experts.types.int8_rows);
  activation_.run(experts.spec.activation, up, activated);
  multiply(experts.down, activated, counts, down, experts.types.int8_rows);
  if (direct) return;
  if (padded) down = narrow_columns(experts, down, stripped_.reserve_bytes(rows * hidden * size_of(type)));
  queue_.run(operators_.cast, down, DataType::kFloat32, result);
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

}  // namespace moe::ascend
