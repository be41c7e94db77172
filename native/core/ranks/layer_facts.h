// What ranks must agree on before they run a layer together.
#pragma once
#include <string>
#include <string_view>

namespace moe {

// Lines `name=value` of everything that describes a layer, as every rank of one build writes them.
class LayerFacts {
 public:
  explicit LayerFacts(std::string lines) : lines_(std::move(lines)) {}

  std::string_view lines() const { return lines_; }
  // Throws kConfig, naming the first difference with both values, unless `theirs`, the lines of `rank`, say the same.
  void expect_same(std::string_view theirs, int rank, int own_rank) const;

 private:
  std::string lines_;
};

}  // namespace moe
