// What an exchange costs: a start and a rate, the alpha and beta of the usual model.
#pragma once
#include "core/collective.h"

namespace moe {

struct LinkCost {
  double seconds_per_exchange;  // alpha: an all-to-all of next to nothing
  double bytes_per_second;      // 1 / beta: what one rank sends to all its peers together, while all do
};

// Times all-to-alls of two sizes over host memory, on all ranks at once. Takes some tens of milliseconds on one
// machine, longer on slow links; the same on every rank: the slowest rank's times count.
LinkCost measure_link(Collective& collective);

}  // namespace moe
