// Where a rank stands in its group.
#pragma once

namespace moe {

// Ranks of one model-parallel set are adjacent. A set holds the same tokens and, together, the same experts: each
// member a part of every expert's columns. MindFormers' rank = data_parallel_index * model_parallel +
// model_parallel_index. Ranks of one node, a machine with faster links inside than to others, are adjacent, too.
struct GroupShape {
  int rank = 0;
  int size = 1;
  int model_parallel = 1;
  // Only rank 0 has tokens; the others follow it, with nothing but their experts. Without model parallelism only.
  bool led = false;
  int ranks_per_node = 1;  // a divisor of size

  int sets() const { return size / model_parallel; }  // expert parallel
  int set() const { return rank / model_parallel; }
  int member() const { return rank % model_parallel; }
  int rank_of(int set, int member) const { return set * model_parallel + member; }

  int nodes() const { return size / ranks_per_node; }
  int node() const { return rank / ranks_per_node; }
  int place() const { return rank % ranks_per_node; }
  // Whether rows can go by way of one rank of each node. Sets have groupWiseA2a for that.
  bool has_levels() const { return model_parallel == 1 && ranks_per_node > 1 && nodes() > 1; }
};

}  // namespace moe
