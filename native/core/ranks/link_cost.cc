#include "core/ranks/link_cost.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/ranks/gather_from_all.h"

namespace moe {
namespace {

constexpr size_t kSmall = 64;
// They bound what goes to one peer, and to all of them together: with many, a slow link would take minutes otherwise.
constexpr size_t kLarge = size_t{1} << 20, kLargeToAll = size_t{4} << 20, kLeastLarge = size_t{16} << 10;
constexpr int kRounds = 7;

// The median over rounds of what the slowest rank takes for messages of so many bytes.
double seconds_for(Collective& collective, size_t bytes) {
  std::vector<std::byte> sent(bytes), received(bytes * collective.size());
  const auto sends = to_others(collective, bytes, false), receives = to_others(collective, bytes, true);
  std::vector<double> times;
  for (int round = 0; round <= kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    collective.wait(collective.start(sent.data(), sends, received.data(), receives));
    const double mine = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const std::vector<double> all = gather_from_all(collective, mine);
    if (round > 0) times.push_back(*std::max_element(all.begin(), all.end()));  // the first warms up
  }
  std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
  return times[kRounds / 2];
}

}  // namespace

LinkCost measure_link(Collective& collective) {
  const size_t peers = collective.size() - 1;
  if (peers == 0) return {0.0, 1e12};
  const size_t much = std::max(std::min(kLarge, kLargeToAll / peers), kLeastLarge);
  const double start = seconds_for(collective, kSmall), large = seconds_for(collective, much);
  const double bytes = static_cast<double>(peers * (much - kSmall));
  return {start, bytes / std::max(large - start, 1e-9)};
}

}  // namespace moe
