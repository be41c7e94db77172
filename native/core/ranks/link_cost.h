// What an exchange costs: a start and a rate, the alpha and beta of the usual model.
#pragma once
#include <span>

#include "core/collective.h"

namespace moe {

struct LinkCost {
  double seconds_per_exchange;  // alpha: an all-to-all of next to nothing
  double bytes_per_second;      // 1 / beta: what one rank sends to all its peers together, while all do

  double seconds(double bytes) const { return seconds_per_exchange + bytes / bytes_per_second; }
};

// Times all-to-alls of several sizes over host memory, on all ranks at once, each rank with its `peers`, whose peer it
// is. Takes some tens of milliseconds on one machine, longer on slow links; the same on every rank: the slowest rank's
// times count. Every rank has the same number of peers.
LinkCost measure_link(Collective& collective, std::span<const int> peers);
LinkCost measure_link(Collective& collective);  // with all others

}  // namespace moe
