// Where a rank stands in its group.
#pragma once

namespace moe {

// Ranks of one model-parallel set are adjacent. A set holds the same tokens and, together, the same experts: each
// member a part of every expert's columns. MindFormers' rank = data_parallel_index * model_parallel +
// model_parallel_index.
struct GroupShape {
  int rank = 0;
  int size = 1;
  int model_parallel = 1;
  // Only rank 0 has tokens; the others follow it, with nothing but their experts. It needs a group without model
  // parallelism.
  bool led = false;

  int sets() const { return size / model_parallel; }  // expert parallel
  int set() const { return rank / model_parallel; }
  int member() const { return rank % model_parallel; }
  int rank_of(int set, int member) const { return set * model_parallel + member; }
};

}  // namespace moe
