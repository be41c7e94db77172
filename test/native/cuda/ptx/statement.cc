#include "cuda/ptx/statement.h"

#include <cctype>

namespace moe::ptx {
namespace {

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

// Comments become blanks, so that line numbers stay.
std::string without_comments(std::string_view text) {
  std::string out(text);
  for (size_t i = 0; i + 1 < out.size(); ++i) {
    const bool line = out[i] == '/' && out[i + 1] == '/', block = out[i] == '/' && out[i + 1] == '*';
    if (!line && !block) continue;
    size_t end = line ? out.find('\n', i) : out.find("*/", i + 2);
    end = end == std::string::npos ? out.size() : line ? end : end + 2;
    for (; i < end; ++i)
      if (out[i] != '\n') out[i] = ' ';
    --i;
  }
  return out;
}

std::string folded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (!is_blank(c))
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  return trim(out);
}

}  // namespace

std::string trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return std::string(text);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t end = text.find(separator, begin);
    parts.push_back(trim(text.substr(begin, end - begin)));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  std::string part;
  int depth = 0;
  for (const char c : text) {
    depth += (c == '{' || c == '[' || c == '(') - (c == '}' || c == ']' || c == ')');
    if (c == ',' && depth == 0) {
      parts.push_back(trim(part));
      part.clear();
    } else {
      part += c;
    }
  }
  if (!trim(part).empty()) parts.push_back(trim(part));
  return parts;
}

std::vector<Statement> split_statements(std::string_view source) {
  const std::string text = without_comments(source);
  std::vector<Statement> statements;
  std::string part;
  int line = 1, begin = 1, depth = 0;  // depth of the braces and brackets inside one statement
  const auto finish = [&](Statement::Kind kind) {
    std::string whole = folded(part);
    if (!whole.empty()) statements.push_back({kind, std::move(whole), begin});
    part.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (part.empty() && is_blank(c)) continue;
    if (part.empty()) begin = line;
    // A brace opens a scope at the start of a statement and after `.entry name(...)`; elsewhere it opens a vector or
    // an initialiser.
    const auto opens_scope = [&] {
      return depth == 0 &&
             (part.empty() || part.find(".entry") != std::string::npos || part.find(".func") != std::string::npos);
    };
    if (c == '{' && opens_scope()) {
      finish(Statement::kText);
      statements.push_back({Statement::kOpen, "{", line});
    } else if (c == '}' && depth == 0) {
      finish(Statement::kText);
      statements.push_back({Statement::kClose, "}", line});
    } else if (c == ';' && depth == 0) {
      finish(Statement::kText);
    } else if (c == ':' && depth == 0 && part.find_first_of(" .[,") == std::string::npos) {
      finish(Statement::kLabel);
    } else if (c == '\n' && depth == 0 &&
               (part.rfind(".version", 0) == 0 || part.rfind(".target", 0) == 0 ||
                part.rfind(".address_size", 0) == 0 || part.rfind(".file", 0) == 0 || part.rfind(".loc", 0) == 0)) {
      finish(Statement::kText);  // these directives end with their line
    } else {
      depth += (c == '{' || c == '[' || c == '(') - (c == '}' || c == ']' || c == ')');
      part += c;
    }
  }
  finish(Statement::kText);
  return statements;
}

}  // namespace moe::ptx
