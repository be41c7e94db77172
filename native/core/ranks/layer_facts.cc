#include "core/ranks/layer_facts.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace moe {
namespace {

constexpr size_t kMostShown = 200;

std::string_view line_at(std::string_view lines, size_t begin) {
  return begin < lines.size() ? lines.substr(begin, lines.find('\n', begin) - begin) : std::string_view();
}

std::string value_of(std::string_view line) {
  const std::string_view value = line.substr(std::min(line.size(), line.find('=') + 1));
  if (line.empty()) return "nothing";
  return "`" + std::string(value.substr(0, kMostShown)) + (value.size() > kMostShown ? "...`" : "`");
}

}  // namespace

void expect_same_facts(std::string_view ours, std::string_view theirs, int rank, int own_rank) {
  if (ours == theirs) return;
  const size_t length = std::min(ours.size(), theirs.size());
  const size_t same = std::mismatch(ours.begin(), ours.begin() + length, theirs.begin()).first - ours.begin();
  const size_t begin = same == 0 ? 0 : ours.rfind('\n', same - 1) + 1;
  const std::string_view own_line = line_at(ours, begin), their_line = line_at(theirs, begin);
  const std::string_view named = own_line.empty() ? their_line : own_line;
  throw Error(ErrorCode::kConfig, "Expected every rank to describe the same layer: `" +
                                      std::string(named.substr(0, named.find('='))) + "` is " + value_of(their_line) +
                                      " on rank " + std::to_string(rank) + ", " + value_of(own_line) + " on rank " +
                                      std::to_string(own_rank));
}

}  // namespace moe
