// A value from every rank of a group.
#pragma once
#include <type_traits>
#include <vector>

#include "core/collective.h"

namespace moe {

// Transfers of so many bytes with every other rank: of the same bytes, or of each rank's own place in a buffer.
inline std::vector<Transfer> to_others(const Collective& collective, size_t bytes, bool apart) {
  std::vector<Transfer> transfers;
  for (int rank = 0; rank < collective.size(); ++rank)
    if (rank != collective.rank()) transfers.push_back({rank, apart ? rank * bytes : 0, bytes});
  return transfers;
}

// What every rank offers, in the order of ranks. Every rank calls it.
template <class T>
std::vector<T> gather_from_all(Collective& collective, const T& mine) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::vector<T> all(collective.size());
  const auto sends = to_others(collective, sizeof(T), false), receives = to_others(collective, sizeof(T), true);
  collective.wait(collective.start(&mine, sends, all.data(), receives));
  all[collective.rank()] = mine;
  return all;
}

}  // namespace moe
