#include "core/ranks/rank_experts.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/experts/weighed_input.h"
#include "core/ranks/layer_facts.h"

namespace moe {
namespace {

uint64_t digest_of(std::span<const int32_t> values) {  // FNV-1a
  uint64_t digest = 0xcbf29ce484222325;
  for (const int32_t value : values) digest = (digest ^ static_cast<uint32_t>(value)) * 0x100000001b3;
  return digest;
}

WeightMatrix rows_of(const WeightMatrix& matrix, const GroupShape& shape) {
  if (!matrix) return matrix;
  const Part part(matrix.out_features, shape.member(), shape.model_parallel);
  WeightMatrix cut = matrix;
  cut.out_features = part.size();
  cut.first_out += part.begin;
  return cut;
}

WeightVector part_of(const WeightVector& vector, const GroupShape& shape) {
  if (!vector) return vector;
  const Part part(vector.size, shape.member(), shape.model_parallel);
  WeightVector cut = vector;
  cut.data = static_cast<const std::byte*>(vector.data) +
             static_cast<size_t>(part.begin * vector.stride) * size_of(vector.dtype);
  cut.size = part.size();
  return cut;
}

// Leaves what the member holds: its part of I in gate and up, of H in down. Both are columns of the products, so every
// sum stays whole and in order, where splitting the sum over I, as MindFormers does, would change its rounding.
void cut_columns(LayerSpec& spec, LayerWeights& weights, const GroupShape& shape) {
  if (shape.model_parallel == 1) return;
  if (spec.intermediate_size < shape.model_parallel || spec.routed_size() < shape.model_parallel)
    throw Error(ErrorCode::kConfig, "Expected `modelParallel` to be at most hiddenSize and intermediateSize, got " +
                                        std::to_string(shape.model_parallel));
  spec.intermediate_part =
      static_cast<int32_t>(Part(spec.intermediate_size, shape.member(), shape.model_parallel).size());
  spec.hidden_part = static_cast<int32_t>(Part(spec.routed_size(), shape.member(), shape.model_parallel).size());
  for (ExpertWeights& expert : weights.experts)
    expert = {rows_of(expert.gate, shape),      rows_of(expert.up, shape),      rows_of(expert.down, shape),
              part_of(expert.gate_bias, shape), part_of(expert.up_bias, shape), part_of(expert.down_bias, shape)};
}

}  // namespace

void RankExperts::keep_own(Device& device, LayerSpec& spec, LayerWeights& weights, const ParallelOptions& options) {
  const GroupShape& shape = options.group->shape();
  if (shape.model_parallel > 1 && !device.moe().columns())
    throw Error(ErrorCode::kConfig, "Expected `modelParallel` to be 1: this device holds whole experts only");
  if (shape.model_parallel > 1 && weights.packed)
    throw Error(ErrorCode::kConfig, "Expected `modelParallel` 1 with packed weights: columns are packed as a whole");
  const std::span<const int32_t> experts = options.placement.experts_of(shape.set());
  spec.local_experts = static_cast<int32_t>(experts.size());
  cut_columns(spec, weights, shape);
  if (weights.packed) weights.packed->experts.assign(experts.begin(), experts.end());
}

RankExperts::RankExperts(Device& device, const LayerSpec& spec, std::unique_ptr<PreparedExperts> prepared,
                         ParallelOptions options, StageClock clock)
    : device_(device),
      weight_on_input_(spec.moe.weight_on_input),
      prepared_(std::move(prepared)),
      membership_(std::move(options.group), device),
      exchange_(device, membership_.collective(), spec.hidden_size,
                {.shape = shape(),
                 .placement = std::move(options.placement),
                 .chunks = std::min(options.chunks, kMaxChunks),
                 .group_wise = options.group_wise && shape().model_parallel > 1}),
      local_(device, membership_.collective(), shape(), spec, clock),
      clock_(clock) {
  expect_same_layer(options.facts);
}

void RankExperts::expect_same_layer(std::string_view facts) {
  const Announcement announcement{.kind = Announcement::kCreate, .layer = number()};
  const uint64_t own_size = facts.size();
  std::vector<uint64_t> sizes(shape().led ? 1 : shape().size);  // of the lines of every rank that tells them
  {
    const auto all = group().announce(announcement, std::as_bytes(std::span(&own_size, 1)));
    for (size_t rank = 0; rank < sizes.size(); ++rank) std::memcpy(&sizes[rank], all[rank].data(), sizeof(uint64_t));
  }
  std::vector<std::string> lines(sizes.size());
  const size_t longest = *std::max_element(sizes.begin(), sizes.end()), most = group().announced_bytes();
  for (size_t begin = 0; begin < longest; begin += most) {
    const std::string_view piece = facts.substr(std::min(begin, facts.size()), most);
    const auto all = group().announce(announcement, std::as_bytes(std::span(piece)));
    for (size_t rank = 0; rank < lines.size(); ++rank)
      lines[rank].append(reinterpret_cast<const char*>(all[rank].data()), most);
  }
  for (size_t rank = 0; rank < lines.size(); ++rank)
    expect_same_facts(facts, std::string_view(lines[rank]).substr(0, sizes[rank]), static_cast<int>(rank),
                      shape().rank);
}

// What is sent where is planned on the host, which has to know it anyway. What comes back is planned by the device, as
// rows at home are.
void RankExperts::run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared,
                      Matrix out, const std::stop_token& stop) {
  std::vector<int32_t>& choices = workspace.choices;
  choices.resize(routing.tokens * routing.top_k);
  std::optional<WeighedInput> weighed;
  Matrix always{};
  const Matrix rows = clock_.time(Stage::kExchange, [&] {
    device_.download(choices.data(), routing.arrays.experts, choices.size() * sizeof(int32_t));
    device_.synchronize();
    for (int32_t& choice : choices)
      if (choice >= routing.num_experts) choice = -1;  // identities stay at home
    if (weight_on_input_) weighed.emplace(device_.moe(), *prepared_, workspace, hidden, routing);
    exchange_.plan(choices, weighed ? 1 : routing.top_k);
    const auto all = group().announce(
        {.kind = Announcement::kForward, .layer = number(), .tokens = routing.tokens, .routing = digest_of(choices)},
        std::as_bytes(exchange_.counts()));
    return exchange_.run(
        weighed ? weighed->rows : hidden, [&](int rank) { return all[rank]; },
        [&](const ArrivedRows& arrived, Matrix values) { return local_.run(*prepared_, arrived, values, stop); },
        [&] { always = shared(); });
  });
  const ExpertExchange::Blocks blocks = exchange_.blocks();
  const std::unique_ptr<Plan> plan =
      clock_.time(Stage::kPlan, [&] { return device_.moe().plan(blocks.of_slot, blocks.count, routing.top_k); });
  const Routing& mixed = weighed ? weighed->mixed : routing;
  clock_.time(Stage::kCombine, [&] { device_.moe().combine(*prepared_, rows, mixed, *plan, always, out); });
}

void RankExperts::sum(std::span<double> values) {
  const size_t most = group().announced_bytes() / sizeof(double);
  for (std::span<double> left = values; !left.empty();) {
    const std::span<double> piece = left.first(std::min(left.size(), most));
    const auto all = group().announce({.kind = Announcement::kSum, .layer = number()}, std::as_bytes(piece));
    std::fill(piece.begin(), piece.end(), 0.0);
    for (int set = 0; set < shape().sets(); ++set)
      for (size_t i = 0; i < piece.size(); ++i) {
        double theirs;
        std::memcpy(&theirs, all[shape().rank_of(set, 0)].data() + i * sizeof(double), sizeof(double));
        piece[i] += theirs;
      }
    left = left.subspan(piece.size());
  }
}

}  // namespace moe
