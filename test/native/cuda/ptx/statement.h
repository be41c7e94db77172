// PTX text cut into statements: what stands between semicolons, braces and labels.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace moe::ptx {

struct Statement {
  enum Kind { kOpen, kClose, kLabel, kText } kind;
  std::string text;  // the label's name, or the statement without its semicolon
  int line;          // where it begins, from 1
};

// Comments removed, white space inside a statement folded to single blanks.
std::vector<Statement> split_statements(std::string_view text);

// Splits at commas that stand outside of brackets, and trims.
std::vector<std::string> split_list(std::string_view text);

std::vector<std::string> split(std::string_view text, char separator);
std::string trim(std::string_view text);

}  // namespace moe::ptx
