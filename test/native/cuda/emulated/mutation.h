// Kernels with faults put in on purpose: PTX texts in which single lines are changed.
#pragma once
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace moe::test {

// A change of the lines of one kernel that match. `replacement` as in std::regex_replace; empty: the line goes.
struct Change {
  const char* pattern;
  const char* replacement;
};

class KernelTexts {
 public:
  explicit KernelTexts(const std::string& folder);

  const std::vector<std::string>& texts() const { return texts_; }
  // Lines of the kernel's file that match, lie in the kernel and are among `lines`, from 1.
  std::vector<int> sites(const std::string& kernel, const Change& change, const std::set<int>& lines) const;
  // All texts, with the change made at these lines.
  std::vector<std::string> changed(const std::string& kernel, const Change& change,
                                   const std::vector<int>& lines) const;

 private:
  struct Place {
    size_t file;
    int first, last;  // lines
  };
  std::vector<std::string> texts_;
  std::vector<std::vector<std::string>> lines_;  // of each text
  std::map<std::string, Place> places_;
};

}  // namespace moe::test
