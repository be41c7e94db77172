#include "core/ranks/expert_parallel.h"

#include <algorithm>
#include <cstring>

#include "core/ranks/layer_facts.h"

namespace moe {

ExpertParallel::ExpertParallel(Device& device, const LayerSpec& spec, ParallelOptions options)
    : membership_(std::move(options.group), device),
      top_k_(spec.moe.num_experts_chosen),
      exchange_(device, membership_.collective(), spec.hidden_size,
                {.shape = shape(),
                 .placement = options.placement,
                 .chunks = std::min(options.chunks, kMaxChunks),
                 .group_wise = options.group_wise && shape().model_parallel > 1}),
      local_(device, membership_.collective(), shape(), spec,
             static_cast<int32_t>(options.placement.experts_of(shape().set()).size())) {
  const ExpertExchange::Options& agreed = exchange_.options();
  const LayerFacts mine(spec, agreed.placement, agreed.chunks, agreed.group_wise);
  const auto all = group().announce({.kind = Announcement::kCreate, .layer = number()}, mine.bytes());
  for (int rank = 0; rank < (shape().led ? 1 : shape().size); ++rank) mine.expect_same(all[rank], rank, shape().rank);
}

Matrix ExpertParallel::run(const PreparedExperts& held, Matrix hidden, std::span<const int32_t> experts,
                           FunctionRef<void()> meanwhile, const std::stop_token& stop) {
  exchange_.plan(experts, top_k_);
  const Announcement mine{.kind = Announcement::kForward,
                          .layer = number(),
                          .tokens = static_cast<int64_t>(experts.size()) / top_k_,
                          .routing = digest_of(experts)};
  const auto all = group().announce(mine, std::as_bytes(exchange_.counts()));
  return exchange_.run(
      hidden, [&](int rank) { return all[rank]; },
      [&](const ArrivedRows& rows, Matrix arrived) { return local_.run(held, rows, arrived, stop); }, meanwhile);
}

void ExpertParallel::sum(std::span<double> values) {
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
