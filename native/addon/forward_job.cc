#include <optional>
#include <string>
#include <vector>

#include "addon/arguments.h"
#include "addon/layer_object.h"

namespace moe {
namespace {

constexpr size_t kNumTotals = 4;  // auxLoss, zLoss, droppedChoices, capacity

template <class T>
T* array_or_null(Napi::Object call, const char* name, napi_typedarray_type type, size_t count) {
  static T nothing;  // an empty array has no memory of its own, but it was given
  const auto array = read_array(call, name, type, count);
  if (!array) return nullptr;
  return array->data ? static_cast<T*>(array->data) : &nothing;
}

// Copied, so that what was checked is what is used: an expert that does not exist would be read all the same.
std::optional<std::vector<int32_t>> read_choices(Napi::Object call, size_t slots, int32_t rows) {
  const auto array = read_array(call, "experts", napi_int32_array, slots);
  if (!array) return std::nullopt;
  const auto* const first = static_cast<const int32_t*>(array->data);
  std::vector<int32_t> choices(first, first + slots);
  for (const int32_t choice : choices)
    if (choice < 0 || choice >= rows)
      throw Error(ErrorCode::kShape,
                  "Expected `experts` to be from 0 to " + std::to_string(rows - 1) + ", got " + std::to_string(choice));
  return choices;
}

}  // namespace

std::shared_ptr<EnvironmentJob> forward_job(std::shared_ptr<LiveLayer> live, Napi::Object owner, Napi::Object call) {
  const LayerSpec& spec = live->spec;
  const DType dtype = read_dtype(call, "dtype");
  const int64_t tokens = read_integer(call, "tokens", 0, INT32_MAX);
  const auto values = static_cast<size_t>(tokens) * static_cast<size_t>(spec.hidden_size);
  const auto slots = static_cast<size_t>(tokens) * static_cast<size_t>(spec.moe.num_experts_chosen);
  const auto hidden =
      read_array(call, "hidden", dtype == DType::kFloat32 ? napi_float32_array : napi_uint16_array, values);
  if (!hidden) throw Error(ErrorCode::kShape, "Expected `hidden` to be a typed array");
  std::optional<std::vector<int32_t>> chosen = read_choices(call, slots, spec.moe.router_rows());
  ForwardOutput out;
  out.output = array_or_null<float>(call, "output", napi_float32_array, values);
  out.expert_ids = array_or_null<int32_t>(call, "expertIds", napi_int32_array, slots);
  out.weights = array_or_null<float>(call, "weights", napi_float32_array, slots);
  out.expert_load =
      array_or_null<uint32_t>(call, "expertLoad", napi_uint32_array, static_cast<size_t>(spec.moe.expert_num));
  double* const totals = array_or_null<double>(call, "totals", napi_float64_array, kNumTotals);
  const auto experts = static_cast<size_t>(spec.moe.expert_num);
  InputSquares squares;
  squares.tokens = array_or_null<double>(call, "routedTokens", napi_float64_array, experts);
  squares.routed = array_or_null<double>(call, "routedSquares", napi_float64_array, experts * spec.routed_size());
  squares.intermediate =
      array_or_null<double>(call, "intermediateSquares", napi_float64_array, experts * spec.intermediate_size);
  squares.shared = array_or_null<double>(call, "sharedSquares", napi_float64_array, spec.shared_size);
  if (squares && !squares.intermediate) refuse("intermediateSquares", "given with `routedSquares`");
  if (squares && !squares.tokens) refuse("routedTokens", "given with `routedSquares`");
  const auto device = live->device;
  return make_job(
      owner.Env(), device,
      [live = std::move(live), keep = std::pair(Napi::Persistent(owner), Napi::Persistent(call)), data = hidden->data,
       dtype, tokens, chosen = std::move(chosen), out, totals, squares](EnvironmentJob& job) mutable {
        RoutingTotals of_batch{};
        if (totals) out.totals = &of_batch;
        const HostBatch batch{data, dtype, tokens, chosen ? chosen->data() : nullptr};
        if (squares)
          return live->layer->add_input_squares(job.device().workspace(), batch, squares, job.stop().get_token());
        live->layer->forward(job.device().workspace(), batch, out, job.stop().get_token());
        if (!totals) return;
        totals[0] = of_batch.aux_loss;
        totals[1] = of_batch.z_loss;
        totals[2] = static_cast<double>(of_batch.dropped_choices);
        totals[3] = static_cast<double>(of_batch.capacity);
      });
}

}  // namespace moe
