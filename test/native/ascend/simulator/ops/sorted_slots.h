// How a row index is numbered: token * k + choice, or choice * N + token.
inline const std::string kRowOrder = "row order";
inline const std::string kColumnOrder = "column order";

// Slots, numbered token * k + choice, sorted by expert; slots of one expert keep their order.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

namespace ascend_sim {

inline std::vector<int64_t> sorted_slots(const std::vector<int64_t>& experts) {
  std::vector<int64_t> order(experts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return experts[a] < experts[b]; });
  return order;
}

// Rows `from[r]` of a [*, width] matrix, one after another.
inline std::vector<double> taken_rows(const std::vector<double>& values, int64_t width,
                                      const std::vector<int64_t>& from) {
  std::vector<double> rows;
  rows.reserve(from.size() * width);
  for (const int64_t row : from)
    rows.insert(rows.end(), values.begin() + row * width, values.begin() + (row + 1) * width);
  return rows;
}

}  // namespace ascend_sim
