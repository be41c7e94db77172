// Which set of ranks holds which experts.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace moe {

class Placement {
 public:
  // The experts of each set. Throws kConfig unless every expert is somewhere, none twice in a set, and no set is empty.
  Placement(int32_t num_experts, std::vector<std::vector<int32_t>> experts_of_set);

  int sets() const { return static_cast<int>(experts_of_set_.size()); }
  int32_t num_experts() const { return static_cast<int32_t>(replicas_.size()); }
  std::span<const int32_t> experts_of(int set) const { return experts_of_set_[set]; }

  struct Home {
    int32_t set;
    int32_t local_expert;  // place among the set's experts
  };
  // Where a token's choice goes. Replicas of an expert take turns by the token's index: the same on every run.
  Home home(int32_t expert, int64_t token) const {
    const std::vector<Home>& replicas = replicas_[expert];
    return replicas.size() == 1 ? replicas[0] : replicas[token % static_cast<int64_t>(replicas.size())];
  }

 private:
  std::vector<std::vector<int32_t>> experts_of_set_;
  std::vector<std::vector<Home>> replicas_;  // of each expert, by set
};

}  // namespace moe
