#include "cuda/emulated/mutation.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace moe::test {

KernelTexts::KernelTexts(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".ptx") files.push_back(entry.path());
  std::ranges::sort(files);
  for (const auto& path : files) {
    std::ifstream file(path);
    std::vector<std::string> lines;
    std::string text, kernel;
    for (std::string line; std::getline(file, line);) {
      lines.push_back(line);
      text += line + "\n";
      const auto number = static_cast<int>(lines.size());
      if (const size_t entry = line.find(".entry "); entry != std::string::npos) {
        kernel = line.substr(entry + 7, line.find('(') - entry - 7);
        places_[kernel] = {texts_.size(), number, number};
      } else if (!kernel.empty()) {
        places_[kernel].last = number;
        if (line == "}") kernel.clear();
      }
    }
    texts_.push_back(std::move(text));
    lines_.push_back(std::move(lines));
  }
}

std::vector<int> KernelTexts::sites(const std::string& kernel, const Change& change, const std::set<int>& lines) const {
  const Place& place = places_.at(kernel);
  const std::regex pattern(change.pattern);
  std::vector<int> found;
  for (const int line : lines)
    if (line >= place.first && line <= place.last && std::regex_search(lines_[place.file][line - 1], pattern))
      found.push_back(line);
  return found;
}

std::vector<std::string> KernelTexts::changed(const std::string& kernel, const Change& change,
                                              const std::vector<int>& lines) const {
  const Place& place = places_.at(kernel);
  const std::regex pattern(change.pattern);
  std::vector<std::string> copy = lines_[place.file];
  for (const int line : lines)
    copy[line - 1] = *change.replacement ? std::regex_replace(copy[line - 1], pattern, change.replacement) : "";
  std::vector<std::string> texts = texts_;
  texts[place.file].clear();
  for (const std::string& line : copy) texts[place.file] += line + "\n";
  return texts;
}

}  // namespace moe::test
