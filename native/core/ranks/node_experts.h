// The experts of all ranks of a node, run on rows that arrived at one of them.
#pragma once
#include <span>
#include <vector>

#include "core/ranks/expert_exchange.h"
#include "core/ranks/sub_collective.h"

namespace moe {

// An arrived row is a token with a few choices, so what arrived is a batch like any other: it is exchanged among the
// ranks of the node.
class NodeExperts {
 public:
  // Device and collectives are borrowed: `host` moves host memory, `collective` that of the device. `placement` is
  // that of the whole group.
  NodeExperts(Device& device, Collective& host, Collective& collective, const GroupShape& shape,
              const Placement& placement, int64_t hidden_size);

  // Every rank of the node calls it in step. Results are left as rows.row_of_result() says; valid until the next call.
  Matrix run(ArrivedRows& rows, Matrix arrived, ExpertExchange::RunExperts run_experts);

 private:
  SubCollective host_, collective_;
  ExpertExchange exchange_;
  std::vector<RowCount> counts_;  // [ranks of the node, ranks of the node]
};

}  // namespace moe
