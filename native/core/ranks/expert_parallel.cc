#include "core/ranks/expert_parallel.h"

#include <algorithm>
#include <cstring>

#include "core/ranks/layer_facts.h"

namespace moe {
namespace {

uint64_t digest_of(std::span<const int32_t> values) {  // FNV-1a
  uint64_t digest = 0xcbf29ce484222325;
  for (const int32_t value : values) digest = (digest ^ static_cast<uint32_t>(value)) * 0x100000001b3;
  return digest;
}

}  // namespace

ExpertParallel::Levels::Levels(Device& device, const ExpertGroup::Membership& membership, const LayerSpec& spec,
                               const ParallelOptions& options)
    : same_place(membership.collective(), membership.group().shape().place(), membership.group().shape().ranks_per_node,
                 membership.group().shape().nodes()),
      between(device, same_place, spec.hidden_size,
              {.shape = {.rank = membership.group().shape().node(), .size = membership.group().shape().nodes()},
               .placement = options.placement.by_node(membership.group().shape().ranks_per_node),
               .chunks = options.chunks}),
      node(device, membership.host(), membership.collective(), membership.group().shape(), options.placement,
           spec.hidden_size) {}

ExpertParallel::ExpertParallel(Device& device, const LayerSpec& spec, ParallelOptions options)
    : membership_(options.group, device),
      num_experts_(spec.moe.expert_num),
      top_k_(spec.moe.num_experts_chosen),
      hidden_size_(spec.hidden_size),
      local_(device, membership_.collective(), shape(), spec,
             static_cast<int32_t>(options.placement.experts_of(shape().set()).size())) {
  if (shape().model_parallel == 1) options.group_wise = false;
  options.chunks = std::min(options.chunks, kMaxChunks);
  flat_ = std::make_unique<ExpertExchange>(
      device, membership_.collective(), hidden_size_,
      ExpertExchange::Options{shape(), options.placement, options.chunks, options.group_wise});
  if (shape().has_levels()) levels_ = std::make_unique<Levels>(device, membership_, spec, options);
  describe_layer(spec, options);
}

void ExpertParallel::describe_layer(const LayerSpec& spec, const ParallelOptions& options) {
  const LayerFacts mine(spec, options.placement, options.chunks, options.group_wise);
  const auto all =
      group().announce({.kind = Announcement::kCreate, .layer = number(), .next = group().first_plan()}, mine.bytes());
  for (int rank = 0; rank < (shape().led ? 1 : shape().size); ++rank) mine.expect_same(all[rank], rank, shape().rank);
  if (levels_) plan_ = all.announcement(0).next;
}

Matrix ExpertParallel::run(const PreparedExperts& held, Matrix hidden, std::span<const int32_t> experts,
                           FunctionRef<void()> meanwhile, const std::stop_token& stop) {
  by_levels_ = plan_ == ExchangePlan::kTwoLevel;
  exchange().plan(experts, top_k_);
  const auto all = share_counts(experts);
  const auto run_here = [&](ArrivedRows& rows, Matrix arrived) { return local_.run(held, rows, arrived, stop); };
  if (!by_levels_)
    return flat_->run(
        hidden, [&](int rank) { return all[rank]; }, run_here, meanwhile);

  const auto of_node = [&](int node) { return all[node * shape().ranks_per_node + shape().place()]; };
  const auto run_in_node = [&](ArrivedRows& rows, Matrix arrived) {
    return levels_->node.run(rows, arrived, run_here);
  };
  return levels_->between.run(hidden, of_node, run_in_node, meanwhile);
}

// Every rank learns what every other sends it, and from rank 0 which way the next call goes. That is one for all, by
// what is known before the call: its own tokens now, those of the others in the last call.
ExpertGroup::Announced ExpertParallel::share_counts(std::span<const int32_t> experts) {
  const int64_t tokens = static_cast<int64_t>(experts.size()) / top_k_;
  const ExchangeLoad load{static_cast<double>(std::max(tokens, most_tokens_)), num_experts_, top_k_, hidden_size_};
  const Announcement mine{.kind = Announcement::kForward,
                          .layer = number(),
                          .tokens = tokens,
                          .routing = digest_of(experts),
                          .next = membership_.next_plan(load)};
  const auto all = group().announce(mine, std::as_bytes(exchange().counts()));
  most_tokens_ = 0;
  for (int rank = 0; rank < shape().size; ++rank) most_tokens_ = std::max(most_tokens_, all.announcement(rank).tokens);
  if (levels_) plan_ = all.announcement(0).next;
  return all;
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
