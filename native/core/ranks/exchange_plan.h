// Which way rows travel between ranks on several nodes, by what either way would cost.
#pragma once
#include <cstdint>

#include "core/collective.h"
#include "core/ranks/group_shape.h"
#include "core/ranks/link_cost.h"

namespace moe {

enum class ExchangePlan : uint32_t {
  // From every rank to every rank that holds an expert of a token.
  kFlat = 0,
  // Once to each node that holds one, to the rank in the sender's own place there, which passes it on inside the node:
  // fewer messages between nodes, and fewer rows, for two exchanges instead of one (Tutel's 2DH, DeepEP's internode).
  kTwoLevel = 1,
};

// What exchanges cost: among the ranks of a node, with all ranks of other nodes, and with those in the same place only.
struct ExchangeCosts {
  LinkCost inside, across, same_place;
};

// Every rank of the group calls it; the same on every rank.
ExchangeCosts measure_exchanges(Collective& host, const GroupShape& shape);

// A call: so many tokens on each rank, each with top_k of the experts, which are equally busy.
struct ExchangeLoad {
  double tokens;
  int32_t experts, top_k;
  int64_t hidden_size;
};

// Seconds that rows and results are under way; the links inside nodes and between them work at the same time.
double flat_seconds(const ExchangeCosts& costs, const GroupShape& shape, const ExchangeLoad& load);
double two_level_seconds(const ExchangeCosts& costs, const GroupShape& shape, const ExchangeLoad& load);

// The cheaper one; flat where they cost the same.
ExchangePlan cheaper_plan(const ExchangeCosts& costs, const GroupShape& shape, const ExchangeLoad& load);

// How many of so many groups of experts, of one size, a token's choices are in, on average: DeepEP's expected top-k.
double expected_groups(int groups, int32_t experts, int32_t top_k);

}  // namespace moe
