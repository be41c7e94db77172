#include "core/ranks/exchange_plan.h"

#include <algorithm>
#include <vector>

namespace moe {
namespace {

// Bytes that a rank sends: rows to the other groups of a kind that a token's choices are in, of all `groups`.
double row_bytes(const ExchangeLoad& load, int groups, double share_of_others) {
  return load.tokens * expected_groups(groups, load.experts, load.top_k) * share_of_others *
         static_cast<double>(load.hidden_size) * sizeof(float);
}

double result_bytes(const ExchangeLoad& load, double share_of_others) {
  return load.tokens * load.top_k * share_of_others * static_cast<double>(load.hidden_size) * sizeof(float);
}

}  // namespace

ExchangeCosts measure_exchanges(Collective& host, const GroupShape& shape) {
  std::vector<int> inside, across, same_place;
  for (int rank = 0; rank < shape.size; ++rank) {
    if (rank == shape.rank) continue;
    const bool here = rank / shape.ranks_per_node == shape.node();
    (here ? inside : across).push_back(rank);
    if (!here && rank % shape.ranks_per_node == shape.place()) same_place.push_back(rank);
  }
  const LinkCost within = measure_link(host, inside), between = measure_link(host, across);
  return {within, between, measure_link(host, same_place)};
}

double expected_groups(int groups, int32_t experts, int32_t top_k) {
  const double others = experts - static_cast<double>(experts) / groups;  // experts outside one group
  double missed = 1.0;                                                    // C(others, top_k) / C(experts, top_k)
  for (int32_t i = 0; i < top_k; ++i) missed *= std::max(0.0, (others - i) / (experts - i));
  return groups * (1.0 - missed);
}

double flat_seconds(const ExchangeCosts& costs, const GroupShape& shape, const ExchangeLoad& load) {
  const double inside = (shape.ranks_per_node - 1.0) / shape.size,
               across = 1.0 - 1.0 * shape.ranks_per_node / shape.size;
  return std::max(costs.inside.seconds(row_bytes(load, shape.size, inside)),
                  costs.across.seconds(row_bytes(load, shape.size, across))) +
         std::max(costs.inside.seconds(result_bytes(load, inside)), costs.across.seconds(result_bytes(load, across)));
}

double two_level_seconds(const ExchangeCosts& costs, const GroupShape& shape, const ExchangeLoad& load) {
  const double inside = 1.0 - 1.0 / shape.ranks_per_node, across = 1.0 - 1.0 / shape.nodes();
  return costs.same_place.seconds(row_bytes(load, shape.nodes(), across)) + costs.inside.seconds(0) +
         costs.inside.seconds(row_bytes(load, shape.size, inside)) + costs.inside.seconds(result_bytes(load, inside)) +
         costs.same_place.seconds(result_bytes(load, across));
}

ExchangePlan cheaper_plan(const ExchangeCosts& costs, const GroupShape& shape, const ExchangeLoad& load) {
  return two_level_seconds(costs, shape, load) < flat_seconds(costs, shape, load) ? ExchangePlan::kTwoLevel
                                                                                  : ExchangePlan::kFlat;
}

}  // namespace moe
