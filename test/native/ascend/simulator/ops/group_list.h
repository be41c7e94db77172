// Which rows belong to which group.
#pragma once
#include <string>
#include <vector>

#include "../nnop/op.h"

namespace ascend_sim {

enum GroupListType : int64_t { kGroupSums = 0, kGroupCounts = 1, kGroupPairs = 2 };

// What a list of rows per group was written as.
inline const std::string kRunningSums = "running sums";
inline const std::string kCounts = "counts";
inline const std::string kPairs = "pairs of group and count";

struct RowGroup {
  int64_t group, begin, end;
};

inline std::vector<RowGroup> row_groups(const Frame& frame, const Argument& argument, int64_t type, int64_t groups,
                                        int64_t rows) {
  const std::string& expected = type == kGroupSums ? kRunningSums : type == kGroupCounts ? kCounts : kPairs;
  const std::string noted = frame.noted(argument);
  frame.require(noted.empty() || noted == expected,
                "groupList was written as " + noted + " and is read as " + expected);
  const std::vector<int64_t> list = frame.integers(argument);
  std::vector<RowGroup> result;
  int64_t begin = 0;
  const size_t step = type == kGroupPairs ? 2 : 1;
  for (size_t i = 0; i < list.size(); i += step) {
    const int64_t value = type == kGroupPairs ? list[i + 1] : list[i];
    const int64_t group = type == kGroupPairs ? list[i] : static_cast<int64_t>(i);
    const int64_t end = type == kGroupSums ? value : begin + value;
    frame.require(end >= begin, type == kGroupSums
                                    ? "groupList is read as running sums, but falls from " + std::to_string(begin) +
                                          " to " + std::to_string(end) + ": were counts given?"
                                    : "groupList has the negative count " + std::to_string(value));
    frame.require(end <= rows, "groupList covers " + std::to_string(end) + " rows, x has " + std::to_string(rows) +
                                   (type == kGroupSums ? "" : ": it is read as counts, were running sums given?"));
    frame.require(group >= 0 && group < groups, "groupList names group " + std::to_string(group));
    if (end > begin) result.push_back({group, begin, end});
    begin = end;
  }
  return result;
}

}  // namespace ascend_sim
