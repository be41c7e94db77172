#include "core/layer/layer.h"

#include <algorithm>

#include "core/error.h"
#include "core/experts/here_experts.h"
#include "core/weight_format.h"
#include "core/weights/check_weights.h"
#include "core/weights/float16.h"
#include "core/weights/packed_weights.h"

namespace moe {
namespace {

const float* as_float32(const HostBatch& batch, int64_t values, std::vector<float>& widened) {
  if (batch.dtype == DType::kFloat32) return static_cast<const float*>(batch.data);
  widened.resize(values);
  read_floats(batch.data, batch.dtype, 0, 1, values, widened.data());
  return widened.data();
}

void expect_countable(int64_t slots) {
  if (slots > INT32_MAX) throw Error(ErrorCode::kShape, "Expected fewer than 2^31 (token, choice) pairs in one call");
}

}  // namespace

Layer::Layer(Device& device, const LayerSpec& spec, const LayerWeights& weights, Progress progress,
             const std::stop_token& stop, std::optional<ParallelOptions> parallel, std::shared_ptr<Profile> profile)
    : device_(device), profile_(std::move(profile)), clock_(device, profile_.get()), spec_(spec) {
  const std::shared_ptr<ExpertGroup> group = parallel ? parallel->group : nullptr;
  try {
    prepare(weights, progress, stop, std::move(parallel));
  } catch (...) {
    if (group) group->fail(std::current_exception());
    throw;
  }
}

void Layer::prepare(const LayerWeights& weights, Progress progress, const std::stop_token& stop,
                    std::optional<ParallelOptions> parallel) {
  MoeStages& stages = device_.moe();
  expect_capable(device_.capabilities(), spec_);
  LayerWeights held = weights;
  if (parallel) RankExperts::keep_own(device_, spec_, held, *parallel);
  check_weights(spec_, held);
  if (held.packed) expect_layout(device_, spec_, held.packed->layout);

  const int64_t shared = spec_.shared_size > 0 ? 1 : 0, experts = spec_.held_experts();
  const auto count = [&](int64_t done, int64_t) { progress(done, experts + shared); };
  const auto count_shared = [&](int64_t, int64_t) { progress(experts + 1, experts + 1); };
  router_ = stages.prepare_router(spec_, held);
  std::unique_ptr<PreparedExperts> prepared = stages.prepare_experts(spec_.of_routed(), held, count, stop);
  if (shared > 0) shared_ = stages.prepare_shared(spec_, held, count_shared, stop);
  if (spec_.latent_size > 0) {
    latent_down_ = stages.prepare_linear(latent_spec("latent_down", spec_.hidden_size, spec_.latent_size),
                                         held.latent_down, held.packed);
    latent_up_ = stages.prepare_linear(latent_spec("latent_up", spec_.latent_size, spec_.hidden_size), held.latent_up,
                                       held.packed);
  }
  if (parallel)
    routed_ =
        std::make_unique<RankExperts>(device_, spec_.of_routed(), std::move(prepared), std::move(*parallel), clock_);
  else
    routed_ = std::make_unique<HereExperts>(device_, spec_, std::move(prepared), clock_);
}

// As exact as the router: every choice of a token goes through the same two. A device without float32 has its first
// type of floats.
LinearSpec Layer::latent_spec(const char* name, int64_t in_features, int64_t out_features) const {
  const auto& types = device_.capabilities().weights;
  const auto type =
      std::ranges::find_if(types, [](const HeldWeights& held) { return !format_of(held.type).has_groups(); });
  return {.name = name,
          .in_features = in_features,
          .out_features = out_features,
          .weight_type = type->type,
          .threads = spec_.threads};
}

template <class Body>
auto Layer::telling_peers(const Body& body) const {
  try {
    return body();
  } catch (...) {
    routed_->fail(std::current_exception());
    throw;
  }
}

int64_t Layer::next_call() const {
  return telling_peers([&] { return routed_->next_call(); });
}

void Layer::sum_over_group(std::span<double> values) const {
  telling_peers([&] { routed_->sum(values); });
}

std::vector<const Prepared*> Layer::all_prepared() const {
  std::vector<const Prepared*> all{&routed_->prepared(), shared_.get(), router_.get(), latent_down_.get(),
                                   latent_up_.get()};
  std::erase(all, nullptr);
  return all;
}

size_t Layer::weight_bytes() const {
  size_t bytes = 0;
  for (const Prepared* prepared : all_prepared()) bytes += prepared->weight_bytes();
  return bytes;
}

PackedWeights Layer::packed() const {
  PackedWeights packed{device_.moe().packed_layout(spec_), {}, {}, {}};
  if (routed_->prepared().packed_parts().empty()) return packed;
  for (const Prepared* prepared : all_prepared())
    for (PackedPart& part : prepared->packed_parts()) packed.parts.push_back(std::move(part));
  return packed;
}

RoutingArrays Layer::arrays_in(Workspace& workspace, int64_t tokens) const {
  const int64_t slots = tokens * spec_.moe.num_experts_chosen;
  expect_countable(slots);
  return {workspace.experts.reserve<int32_t>(slots), workspace.weights.reserve<float>(slots),
          workspace.expert_load.reserve<uint32_t>(spec_.moe.expert_num), workspace.totals.reserve<RoutingTotals>(1)};
}

std::unique_ptr<Routing> Layer::run(Workspace& workspace, Matrix hidden, Matrix out,
                                    const std::stop_token& stop) const {
  if (hidden.dtype != DType::kFloat32 || (out.data && out.dtype != DType::kFloat32))
    throw Error(ErrorCode::kShape, "Expected batches of a layer to be float32 on its device");
  const RoutingArrays arrays = arrays_in(workspace, hidden.rows);
  const auto run_all = [&] { return run(workspace, Tokens{hidden, nullptr}, arrays, out, stop); };
  return out.data ? telling_peers(run_all) : run_all();
}

std::unique_ptr<Routing> Layer::run(Workspace& workspace, const Tokens& tokens, const RoutingArrays& arrays, Matrix out,
                                    const std::stop_token& stop) const {
  MoeStages& stages = device_.moe();
  std::unique_ptr<Routing> routing = clock_.time(Stage::kRoute, [&] { return stages.route(*router_, tokens, arrays); });
  const auto run_always = [&]() -> Matrix {
    Matrix always = float_matrix(nullptr, out.rows, out.cols);
    const bool identities = spec_.moe.zero_expert_num > 0;
    if (!shared_ && !identities) return always;
    always.data = workspace.shared.reserve<float>(out.rows * out.cols);
    const auto scale = static_cast<float>(spec_.moe.shared_expert_scale);
    clock_.time(Stage::kShared, [&] {
      if (shared_) stages.run_shared(*shared_, tokens, always, stop);
      if (identities || scale != 1.0f)
        stages.add_identities(routed_->prepared(), *routing, tokens.hidden, shared_ ? scale : 0.0f, always);
    });
    return always;
  };
  if (out.data && spec_.latent_size > 0)
    run_latent(workspace, tokens, *routing, run_always, out, stop);
  else if (out.data)
    routed_->run(workspace, tokens.hidden, *routing, run_always, out, stop);
  routing->complete();
  return routing;
}

void Layer::run_latent(Workspace& workspace, const Tokens& tokens, const Routing& routing,
                       FunctionRef<Matrix()> run_shared, Matrix out, const std::stop_token& stop) const {
  MoeStages& stages = device_.moe();
  const int64_t values = out.rows * spec_.latent_size;
  const Matrix latent = float_matrix(workspace.latent.reserve<float>(values), out.rows, spec_.latent_size);
  const Matrix mixed = float_matrix(workspace.mixed.reserve<float>(values), out.rows, spec_.latent_size);
  stages.linear(*latent_down_, tokens.hidden, {}, latent, stop);
  Matrix shared{};
  const auto add_later = [&] {
    shared = run_shared();
    return Matrix{};
  };
  routed_->run(workspace, latent, routing, add_later, mixed, stop);
  stages.linear(*latent_up_, mixed, shared, out, stop);
}

// A rank that fails leaves its peers waiting: they are told.
void Layer::forward(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
                    const std::stop_token& stop) const {
  if (!out.output) return forward_batch(workspace, batch, out, stop);
  telling_peers([&] { forward_batch(workspace, batch, out, stop); });
}

void Layer::forward_batch(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
                          const std::stop_token& stop) const {
  const int64_t tokens = batch.tokens, hidden_size = spec_.hidden_size, values = tokens * hidden_size;
  const int64_t slots = tokens * spec_.moe.num_experts_chosen;
  expect_countable(slots);
  // Where memory is the host's, results are made where they are wanted.
  const bool here = device_.capabilities().host_memory;
  const auto place = [&]<class T>(T* wanted, DeviceBuffer& buffer, int64_t count) {
    return here && wanted ? wanted : buffer.reserve<T>(count);
  };
  const auto bring = [&]<class T>(T* wanted, const T* from, int64_t count) {
    if (wanted && wanted != from) device_.download(wanted, from, count * sizeof(T));
  };

  const float* on_host = nullptr;
  float* const hidden = clock_.time(Stage::kUpload, [&] {
    on_host = as_float32(batch, values, workspace.widened);
    if (here) return const_cast<float*>(on_host);
    auto* const there = workspace.hidden.reserve<float>(values);
    device_.upload(there, on_host, values * sizeof(float));
    return there;
  });
  const RoutingArrays arrays{
      place(out.expert_ids, workspace.experts, slots), place(out.weights, workspace.weights, slots),
      place(out.expert_load, workspace.expert_load, spec_.moe.expert_num), place(out.totals, workspace.totals, 1)};
  float* const output = out.output ? place(out.output, workspace.output, values) : nullptr;
  if (batch.experts) device_.upload(arrays.experts, batch.experts, slots * sizeof(int32_t));
  const Tokens of_batch{float_matrix(hidden, tokens, hidden_size), on_host, batch.experts != nullptr};
  run(workspace, of_batch, arrays, float_matrix(output, tokens, hidden_size), stop);
  clock_.time(Stage::kDownload, [&] {
    bring(out.output, output, values);
    bring(out.expert_ids, arrays.experts, slots);
    bring(out.weights, arrays.weights, slots);
    bring(out.expert_load, arrays.expert_load, spec_.moe.expert_num);
    bring(out.totals, arrays.totals, 1);
    device_.synchronize();
  });
}

}  // namespace moe
