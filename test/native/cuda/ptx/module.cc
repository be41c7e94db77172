#include "cuda/ptx/module.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "cuda/ptx/decoder.h"
#include "cuda/ptx/fault.h"
#include "cuda/ptx/statement.h"

namespace moe::ptx {
namespace {

bool begins(const std::string& text, std::string_view with) { return text.rfind(with, 0) == 0; }
bool contains(const std::string& text, std::string_view word) { return text.find(word) != std::string::npos; }

Declaration declaration_of(const std::string& whole, int line) {
  Declaration out;
  const size_t equals = whole.find('=');
  const std::string text = trim(std::string_view(whole).substr(0, equals));
  if (const size_t align = text.find(".align "); align != std::string::npos)
    out.alignment = static_cast<uint32_t>(std::atoi(text.c_str() + align + 7));
  for (const std::string& word : split(text, ' '))
    if (!word.empty() && word[0] == '.')
      if (const auto type = type_of(std::string_view(word).substr(1))) out.type = *type;
  const size_t bracket = text.find('[');
  std::string name = trim(std::string_view(text).substr(0, bracket));
  out.name = name.substr(name.rfind(' ') + 1);
  const auto size = static_cast<uint32_t>(bytes_of(out.type));
  out.bytes = size;
  if (bracket != std::string::npos) out.bytes *= std::strtoull(text.c_str() + bracket + 1, nullptr, 0);
  out.alignment = std::max(out.alignment, size);
  if (equals != std::string::npos) {
    const std::string values = trim(std::string_view(whole).substr(equals + 1));
    if (contains(values, "generic("))
      throw Unsupported("line " + std::to_string(line) + ": addresses as initial values");
    out.initial = values[0] == '{' ? split_list(std::string_view(values).substr(1, values.size() - 2))
                                   : std::vector<std::string>{values};
  }
  return out;
}

Variable variable_of(const Declaration& declaration) {
  Variable variable{declaration.name, declaration.bytes, {}, 0};
  const auto size = static_cast<size_t>(bytes_of(declaration.type));
  if (!declaration.initial.empty()) variable.initial.assign(declaration.bytes, 0);
  for (size_t i = 0; i < declaration.initial.size() && (i + 1) * size <= declaration.bytes; ++i) {
    const std::string& text = declaration.initial[i];
    const bool bits = text.size() > 2 && std::string_view("fFdD").find(text[1]) != std::string_view::npos;
    const uint64_t value = bits ? std::strtoull(text.c_str() + 2, nullptr, 16)
                                : static_cast<uint64_t>(std::strtoll(text.c_str(), nullptr, 0));
    std::memcpy(variable.initial.data() + i * size, &value, size);
  }
  return variable;
}

uint32_t place(uint32_t& end, const Declaration& declaration) {
  const uint32_t offset = (end + declaration.alignment - 1) / declaration.alignment * declaration.alignment;
  end = offset + static_cast<uint32_t>(declaration.bytes);
  return offset;
}

// `label` is the last one read, which a list of branch targets belongs to.
void decode_statement(Decoder& decoder, Kernel& kernel, const Statement& statement, std::string& label) {
  const std::string& text = statement.text;
  if (statement.kind == Statement::kOpen) {
    decoder.open_scope();
  } else if (statement.kind == Statement::kClose) {
    decoder.close_scope();
  } else if (statement.kind == Statement::kLabel) {
    label = text;
    decoder.label(text);
  } else if (begins(text, ".branchtargets")) {
    decoder.branch_targets(label, text.substr(14));
  } else if (begins(text, ".reg")) {
    decoder.declare_registers(text);
  } else if (begins(text, ".shared")) {
    const Declaration shared = declaration_of(text, statement.line);
    decoder.declare(shared.name, {Symbol::kShared, place(kernel.shared_bytes, shared), 0});
  } else if (begins(text, ".local")) {
    const Declaration local = declaration_of(text, statement.line);
    decoder.declare(local.name, {Symbol::kLocal, place(kernel.local_bytes, local), 0});
  } else if (begins(text, ".pragma") || begins(text, ".loc")) {
    return;
  } else if (text[0] == '.') {
    throw Unsupported("line " + std::to_string(statement.line) + ": " + text.substr(0, 200));
  } else {
    decoder.decode(statement);
  }
}

}  // namespace

Module::Module(std::string text) : text_(std::move(text)), statements_(split_statements(text_)) {
  line_starts_.push_back(0);
  for (size_t at = text_.find('\n'); at != std::string::npos; at = text_.find('\n', at + 1))
    line_starts_.push_back(at + 1);
  for (size_t i = 0; i < statements_.size(); ++i) {
    const Statement& statement = statements_[i];
    if (statement.text.find(".entry ") == std::string::npos) {
      read_statement(statement);
      continue;
    }
    const size_t name = statement.text.find(".entry ") + 7;
    const size_t open = std::min(statement.text.find('(', name), statement.text.size());
    Entry entry{statement.text, statement.line, i + 1, i + 1, nullptr};
    int depth = 0;
    do {
      if (entry.end == statements_.size()) throw Unsupported("the text ends inside of a kernel");
      const Statement::Kind kind = statements_[entry.end++].kind;
      depth += (kind == Statement::kOpen) - (kind == Statement::kClose);
    } while (depth > 0);
    i = entry.end - 1;
    kernels_.emplace(trim(std::string_view(statement.text).substr(name, open - name)), std::move(entry));
  }
}

void Module::read_statement(const Statement& statement) {
  const std::string& text = statement.text;
  if (begins(text, ".version") || begins(text, ".address_size") || begins(text, ".file")) return;
  if (begins(text, ".target"))
    target_ = split(text.substr(8), ',')[0];
  else if (begins(text, ".extern .shared"))
    dynamic_.push_back(declaration_of(text, statement.line));
  else if (contains(text, ".shared "))
    shared_.push_back(declaration_of(text, statement.line));
  else if (contains(text, ".global ") || contains(text, ".const "))
    variables_.push_back(variable_of(declaration_of(text, statement.line)));
  else
    throw Unsupported("line " + std::to_string(statement.line) + ": " + text.substr(0, 200));
}

void Module::load(DeviceMemory& memory) {
  for (Variable& variable : variables_) {
    variable.address = memory.allocate(variable.bytes);
    if (variable.initial.empty())
      memory.set(variable.address, 0, variable.bytes);
    else
      memory.write(variable.address, variable.initial.data(), variable.bytes);
  }
}

std::vector<std::string> Module::kernel_names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : kernels_) names.push_back(name);
  return names;
}

std::string Module::line(int number) const {
  if (number < 1 || static_cast<size_t>(number) > line_starts_.size()) return "";
  const size_t begin = line_starts_[number - 1];
  return trim(std::string_view(text_).substr(begin, text_.find('\n', begin) - begin));
}

const Kernel& Module::kernel(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = kernels_.find(name);
  if (found == kernels_.end()) throw std::out_of_range("no kernel " + std::string(name));
  if (!found->second.kernel) found->second.kernel = decode(found->second);
  return *found->second.kernel;
}

std::unique_ptr<Kernel> Module::decode(const Entry& entry) {
  const std::string& header = entry.header;
  const size_t open = header.find('('), close = header.rfind(')');
  const auto read = [&](const Allocation* allocation, Allocation* next) {
    auto kernel = std::make_unique<Kernel>();
    const size_t name = header.find(".entry ") + 7;
    kernel->name = trim(std::string_view(header).substr(name, std::min(open, header.size()) - name));
    kernel->target = target_;
    if (const size_t threads = header.find(".maxntid "); threads != std::string::npos) {
      kernel->max_threads = 1;
      const std::string list = header.substr(threads + 9);
      for (const std::string& size : split(list.substr(0, list.find(" .")), ','))
        kernel->max_threads *= static_cast<uint32_t>(std::max(1, std::atoi(size.c_str())));
    }
    Decoder decoder(variables_, *kernel, allocation);
    decoder.open_scope();
    if (open != std::string::npos)
      for (const std::string& text : split_list(header.substr(open + 1, close - open - 1))) {
        const Declaration parameter = declaration_of(text, entry.line);
        const uint32_t offset = place(kernel->parameter_bytes, parameter);
        kernel->parameters.push_back({offset, static_cast<uint32_t>(parameter.bytes)});
        decoder.declare(parameter.name, {Symbol::kParameter, offset, 0});
      }
    for (const Declaration& shared : shared_)
      decoder.declare(shared.name, {Symbol::kShared, place(kernel->shared_bytes, shared), 0});
    for (const Declaration& dynamic : dynamic_) {
      kernel->dynamic_alignment = std::max(kernel->dynamic_alignment, dynamic.alignment);
      decoder.declare(dynamic.name, {Symbol::kDynamicShared, 0, 0});
    }
    std::string label;
    for (size_t i = entry.begin; i < entry.end; ++i) decode_statement(decoder, *kernel, statements_[i], label);
    decoder.finish();
    if (next) *next = decoder.allocation();
    return kernel;
  };
  Allocation allocation;
  read(nullptr, &allocation);
  return read(&allocation, nullptr);
}

}  // namespace moe::ptx
