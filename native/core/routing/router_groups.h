// Group-limited choice: only the experts of a token's best groups stay in the running.
#pragma once
#include <cstdint>

#include "core/config.h"

namespace moe {

// True where the config masks any group at all.
bool limits_groups(const MoEConfig& config);

// Overwrites the ranks [E] of experts outside the best topk_group of the n_group groups by 0, or by -infinity with
// exclude_masked_groups. A group stays if its score reaches the smallest of the best, so ties may keep more.
// group_scores: [n_group] scratch.
void mask_groups(const MoEConfig& config, float* ranks, float* group_scores);

}  // namespace moe
