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

ExpertParallel::ExpertParallel(Device& device, const LayerSpec& spec, ParallelOptions options)
    : membership_(std::move(options.group), device),
      top_k_(spec.moe.weight_on_input ? 1 : spec.moe.num_experts_chosen),
      exchange_(device, membership_.collective(), spec.hidden_size,
                {.shape = shape(),
                 .placement = options.placement,
                 .chunks = std::min(options.chunks, kMaxChunks),
                 .group_wise = options.group_wise && shape().model_parallel > 1}),
      local_(device, membership_.collective(), shape(), spec,
             static_cast<int32_t>(options.placement.experts_of(shape().set()).size())) {
  describe_layer(std::move(options.facts));
}

void ExpertParallel::describe_layer(std::string facts) {
  const LayerFacts mine(std::move(facts));
  const Announcement announcement{.kind = Announcement::kCreate, .layer = number()};
  const uint64_t own_size = mine.lines().size();
  std::vector<uint64_t> sizes(shape().led ? 1 : shape().size);  // of the lines of every rank that tells them
  {
    const auto all = group().announce(announcement, std::as_bytes(std::span(&own_size, 1)));
    for (size_t rank = 0; rank < sizes.size(); ++rank) std::memcpy(&sizes[rank], all[rank].data(), sizeof(uint64_t));
  }
  std::vector<std::string> lines(sizes.size());
  const size_t longest = *std::max_element(sizes.begin(), sizes.end()), most = group().announced_bytes();
  for (size_t begin = 0; begin < longest; begin += most) {
    const std::string_view piece = mine.lines().substr(std::min(begin, mine.lines().size()), most);
    const auto all = group().announce(announcement, std::as_bytes(std::span(piece)));
    for (size_t rank = 0; rank < lines.size(); ++rank)
      lines[rank].append(reinterpret_cast<const char*>(all[rank].data()), most);
  }
  for (size_t rank = 0; rank < lines.size(); ++rank)
    mine.expect_same(std::string_view(lines[rank]).substr(0, sizes[rank]), static_cast<int>(rank), shape().rank);
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
