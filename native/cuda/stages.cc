#include "cuda/stages.h"

#include <vector>

#include "core/error.h"

namespace moe::cuda {
namespace {

const CudaPlan& as_cuda(const Plan& plan) { return static_cast<const CudaPlan&>(plan); }
const CudaExperts& as_cuda(const PreparedExperts& experts) { return static_cast<const CudaExperts&>(experts); }

void expect_not_stopped(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
}

// What a batch without tokens adds up to.
RoutingTotals empty_totals(const MoEConfig& config) {
  const bool v1 = config.routing_policy == RoutingPolicy::kTopkRouterV1;
  return {0.0, 0.0, 0, config.router_rows() == 1 ? kDropless : v1 ? capacity_v1(config, 0) : capacity_v2(config, 0)};
}

}  // namespace

std::unique_ptr<PreparedRouter> CudaStages::prepare_router(const LayerSpec& spec, const LayerWeights& host) {
  return stream_.guarded([&] {
    auto router = std::make_unique<CudaRouter>(spec, host, stream_.staging());
    stream_.staging().finish();
    return router;
  });
}

std::unique_ptr<PreparedExperts> CudaStages::prepare_experts(const LayerSpec& spec, const LayerWeights& host,
                                                             Progress progress, const std::stop_token& stop) {
  return prepare(spec, host.experts, {}, progress, stop);
}

std::unique_ptr<PreparedExperts> CudaStages::prepare_shared(const LayerSpec& spec, const LayerWeights& host,
                                                            Progress progress, const std::stop_token& stop) {
  return prepare(spec.of_shared(), {&*host.shared, 1}, host.shared_router, progress, stop);
}

std::unique_ptr<PreparedExperts> CudaStages::prepare(const LayerSpec& spec, std::span<const ExpertWeights> host,
                                                     const WeightMatrix& gate, Progress progress,
                                                     const std::stop_token& stop) {
  return stream_.guarded([&] {
    auto experts = std::make_unique<CudaExperts>(spec, host, gate, stream_.staging(), progress, stop);
    stream_.staging().finish();
    return experts;
  });
}

std::unique_ptr<Routing> CudaStages::route(const PreparedRouter& prepared, const Tokens& tokens,
                                           const RoutingArrays& out) {
  const CudaRouter& router = static_cast<const CudaRouter&>(prepared);
  stream_.guarded([&] {
    stream_.expect(tokens.hidden.rows);
    if (tokens.hidden.rows > 0) return routing_.run(router, tokens.hidden, out, tokens.chosen);
    const RoutingTotals totals = empty_totals(router.moe);
    const std::vector<uint32_t> load(router.moe.expert_num, 0);
    stream_.upload(out.totals, &totals, sizeof totals);
    stream_.upload(out.expert_load, load.data(), load.size() * sizeof load[0]);
  });
  return std::make_unique<Routing>(out, tokens.hidden.rows, router.moe);
}

std::unique_ptr<Plan> CudaStages::plan(const Routing& routing) {
  const int64_t slots = routing.tokens * routing.top_k;
  auto plan = std::make_unique<CudaPlan>(plans_.take(memory_), slots, routing.top_k);
  stream_.guarded([&] {
    if (slots > 0) experts_.plan(routing.arrays.experts, slots, routing.num_experts, routing.top_k, *plan->buffers);
  });
  return plan;
}

std::unique_ptr<Plan> CudaStages::plan(std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) {
  const auto slots = static_cast<int64_t>(choices.size());
  auto plan = std::make_unique<CudaPlan>(plans_.take(memory_), slots, fan_out);
  stream_.guarded([&] {
    if (slots == 0) return;
    int32_t* const on_device = plan->buffers->choices.reserve<int32_t>(slots);
    stream_.upload(on_device, choices.data(), choices.size_bytes());
    experts_.plan(on_device, slots, num_experts, fan_out, *plan->buffers);
  });
  return plan;
}

std::unique_ptr<Routing> CudaStages::weigh(const PreparedExperts&, const Routing& routing, Matrix hidden, Matrix rows,
                                           float* ones) {
  const RoutingArrays& arrays = routing.arrays;
  stream_.guarded([&] {
    if (rows.rows == 0) return;
    stream_.queue().add(kernels::moe_weigh_rows, {static_cast<unsigned>(rows.rows), 256},
                        WeighTask{arrays.experts, arrays.weights, hidden.floats(), rows.floats(), ones, rows.cols,
                                  routing.top_k, routing.num_experts});
  });
  const RoutingArrays by_slot{arrays.experts, ones, arrays.expert_load, arrays.totals};
  return std::make_unique<Routing>(by_slot, rows.rows, 1, routing.num_experts);
}

void CudaStages::add_identities(const PreparedExperts&, const Routing& routing, Matrix hidden, float shared_scale,
                                Matrix always) {
  stream_.guarded([&] {
    if (always.rows == 0) return;
    stream_.queue().add(kernels::moe_add_identities, {static_cast<unsigned>(always.rows), 256},
                        IdentityTask{routing.arrays.experts, routing.arrays.weights, hidden.floats(), always.floats(),
                                     always.cols, routing.top_k, routing.num_experts, shared_scale, 0});
  });
}

void CudaStages::run(const PreparedExperts& experts, Matrix hidden, const Plan& prepared, Matrix out,
                     const std::stop_token& stop) {
  stream_.guarded([&] {
    expect_not_stopped(stop);
    stream_.expect(hidden.rows);
    const CudaPlan& plan = as_cuda(prepared);
    if (plan.slots > 0)
      experts_.run(as_cuda(experts), hidden, {*plan.buffers, false, plan.slots, plan.fan_out}, out.floats());
  });
}

void CudaStages::run_shared(const PreparedExperts& prepared, const Tokens& tokens, Matrix out,
                            const std::stop_token& stop) {
  const Matrix& hidden = tokens.hidden;
  stream_.guarded([&] {
    expect_not_stopped(stop);
    if (hidden.rows == 0) return;
    const CudaExperts& shared = as_cuda(prepared);
    experts_.run(shared, hidden, {all_rows_, true, hidden.rows, 1}, out.floats());
    if (shared.gate.bytes() == 0) return;
    const float* const logits = routing_.logits_of(shared.gate, hidden);
    stream_.queue().add(kernels::moe_scale_rows, {static_cast<unsigned>(hidden.rows), 256},
                        ScaleTask{out.floats(), logits, out.rows, out.cols});
  });
}

void CudaStages::combine(const PreparedExperts&, Matrix rows, const Routing& routing, const Plan& prepared,
                         Matrix shared, Matrix out) {
  stream_.guarded([&] {
    if (out.rows == 0) return;
    const CudaPlan& plan = as_cuda(prepared);
    const int width = combine_width(static_cast<int>(out.cols));
    const auto across = static_cast<unsigned>((width + kCombineThreads - 1) / kCombineThreads);
    stream_.queue().add(
        kernels::moe_combine, {{static_cast<unsigned>(out.rows), across}, kCombineThreads},
        CombineTask{rows.floats(), plan.buffers->row_of_slot.reserve<int32_t>(0), routing.arrays.weights,
                    shared.floats(), out.floats(), out.rows, static_cast<int32_t>(out.cols), plan.fan_out});
  });
}

}  // namespace moe::cuda
