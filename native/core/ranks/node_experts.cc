#include "core/ranks/node_experts.h"

#include <algorithm>

#include "core/ranks/gather_from_all.h"

namespace moe {

NodeExperts::NodeExperts(Device& device, Collective& host, Collective& collective, const GroupShape& shape,
                         const Placement& placement, int64_t hidden_size)
    : host_(host, shape.node() * shape.ranks_per_node, 1, shape.ranks_per_node),
      collective_(collective, shape.node() * shape.ranks_per_node, 1, shape.ranks_per_node),
      exchange_(device, collective_, hidden_size,
                {.shape = {.rank = shape.place(), .size = shape.ranks_per_node},
                 .placement = placement.inside_node(shape.node(), shape.ranks_per_node)}),
      counts_(static_cast<size_t>(shape.ranks_per_node) * shape.ranks_per_node) {}

Matrix NodeExperts::run(ArrivedRows& rows, Matrix arrived, ExpertExchange::RunExperts run_experts) {
  exchange_.plan(rows.experts(), rows.choices());
  const std::span<const RowCount> mine = exchange_.counts();
  const auto sends = to_others(host_, mine.size_bytes(), false), receives = to_others(host_, mine.size_bytes(), true);
  host_.wait(host_.start(mine.data(), sends, counts_.data(), receives));
  std::ranges::copy(mine, counts_.begin() + host_.rank() * mine.size());
  const auto counts_of = [&](int rank) {
    return std::as_bytes(std::span(counts_).subspan(rank * mine.size(), mine.size()));
  };
  const Matrix results = exchange_.run(arrived, counts_of, run_experts, [] {});
  rows.sort_results(exchange_.blocks().of_slot, exchange_.blocks().count);
  return results;
}

}  // namespace moe
