// What ranks must agree on before they run a layer together.
#pragma once
#include <string_view>

namespace moe {

// Both are lines `name=value` of everything that describes a layer, as every rank of one build writes them. Throws
// kConfig, naming the first difference with both values, unless `theirs`, the lines of `rank`, say the same as ours.
void expect_same_facts(std::string_view ours, std::string_view theirs, int rank, int own_rank);

}  // namespace moe
