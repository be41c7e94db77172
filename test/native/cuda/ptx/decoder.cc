#include "cuda/ptx/decoder.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "cuda/ptx/block.h"

namespace moe::ptx {
namespace {

const std::map<std::string_view, Decode>& decoders() {
  static const auto* const all = [] {
    auto* const map = new std::map<std::string_view, Decode>;
    for (const DecodeTable* table :
         {&arithmetic_decoders(), &bit_decoders(), &floating_decoders(), &comparing_decoders(), &moving_decoders(),
          &memory_decoders(), &control_decoders(), &warp_decoders(), &matrix_decoders()})
      map->insert(table->begin(), table->end());
    return map;
  }();
  return *all;
}

constexpr std::pair<std::string_view, Special> kSpecials[] = {
    {"%tid.x", Special::kTidX},
    {"%tid.y", Special::kTidY},
    {"%tid.z", Special::kTidZ},
    {"%ntid.x", Special::kNtidX},
    {"%ntid.y", Special::kNtidY},
    {"%ntid.z", Special::kNtidZ},
    {"%ctaid.x", Special::kCtaidX},
    {"%ctaid.y", Special::kCtaidY},
    {"%ctaid.z", Special::kCtaidZ},
    {"%nctaid.x", Special::kNctaidX},
    {"%nctaid.y", Special::kNctaidY},
    {"%nctaid.z", Special::kNctaidZ},
    {"%laneid", Special::kLaneid},
    {"%warpid", Special::kWarpid},
    {"%lanemask_lt", Special::kLanemaskLt},
    {"%lanemask_le", Special::kLanemaskLe},
    {"%lanemask_gt", Special::kLanemaskGt},
    {"%lanemask_ge", Special::kLanemaskGe},
    {"%lanemask_eq", Special::kLanemaskEq},
    {"%smid", Special::kSmid},
    {"%nsmid", Special::kNsmid},
    {"%clock", Special::kClock},
    {"%clock64", Special::kClock},
    {"%dynamic_smem_size", Special::kDynamicSharedBytes},
};

std::optional<Special> special_of(const std::string& name) {
  for (const auto& [word, which] : kSpecials)
    if (word == name) return which;
  return std::nullopt;
}

// Integers, and floats given by their bits: 0f3F800000, 0d3FF0000000000000.
std::optional<uint64_t> number_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (text.size() > 2 && text[0] == '0' && (std::string_view("fFdD").find(text[1]) != std::string_view::npos))
    return std::strtoull(text.c_str() + 2, nullptr, 16);
  char* end = nullptr;
  const char* const begin = text.c_str();
  const uint64_t value =
      text[0] == '-' ? static_cast<uint64_t>(std::strtoll(begin, &end, 0)) : std::strtoull(begin, &end, 0);
  if (end == begin || (*end != 0 && std::string_view(end) != "U")) return std::nullopt;
  return value;
}

}  // namespace

void Decoder::refuse(const std::string& why) const {
  throw Unsupported("line " + std::to_string(line_) + ": " + why + ": " + text_);
}

void Decoder::open_scope() {
  scopes_.push_back({{}, {}, {}, scope_});
  scope_ = static_cast<int>(scopes_.size()) - 1;
}

void Decoder::close_scope() { scope_ = scopes_[scope_].parent; }

void Decoder::declare(const std::string& name, Symbol symbol) { scopes_[scope_].symbols[name] = symbol; }

Unit Decoder::add_unit(int bytes) {
  const uint32_t unit = next_unit_;
  next_unit_ += bytes > 4 ? bytes / 4 : 1;
  if (next_unit_ > 0xffff) refuse("too many registers");
  return static_cast<Unit>(unit);
}

Unit Decoder::use(const Symbol& symbol, bool writes) {
  uses_.push_back({static_cast<uint32_t>(kernel_.code.size()), symbol.value, writes});
  return allocation_ ? static_cast<Unit>(allocation_->unit_of[symbol.value]) : Unit{0};
}

// ".reg .b32 %r<95>" or ".reg .pred p, q"
void Decoder::declare_registers(const std::string& directive) {
  const std::vector<std::string> words = split(directive, ' ');
  const std::optional<Type> type = words.size() > 2 ? type_of(std::string_view(words[1]).substr(1)) : std::nullopt;
  if (!type) refuse("registers of no known type");
  const auto add = [&](const std::string& name) {
    if (*type == Type::kPred)
      declare(name, {Symbol::kPredicate, kernel_.predicates++, 0});
    else {
      declare(name, {Symbol::kRegister, static_cast<uint32_t>(register_units_.size()),
                     static_cast<uint8_t>(bytes_of(*type))});
      register_units_.push_back(bytes_of(*type) > 4 ? 2 : 1);
    }
  };
  for (const std::string& name : split_list(directive.substr(directive.find(' ', directive.find(words[1]))))) {
    const size_t bracket = name.find('<');
    if (bracket == std::string::npos) {
      add(name);
      continue;
    }
    const int count = std::atoi(name.c_str() + bracket + 1);
    for (int i = 0; i < count; ++i) add(name.substr(0, bracket) + std::to_string(i));
  }
}

void Decoder::label(const std::string& name) {
  scopes_[scope_].labels[name] = static_cast<uint32_t>(kernel_.code.size());
}

void Decoder::branch_targets(const std::string& label, const std::string& list) {
  scopes_[scope_].tables[label] = split_list(list);
}

const Symbol* Decoder::find(const std::string& name) const {
  for (int scope = scope_; scope >= 0; scope = scopes_[scope].parent) {
    const auto found = scopes_[scope].symbols.find(name);
    if (found != scopes_[scope].symbols.end()) return &found->second;
  }
  return nullptr;
}

void Decoder::decode(const Statement& statement) {
  line_ = statement.line;
  text_ = statement.text;
  instruction_ = {};
  instruction_.line = line_;
  std::string rest = statement.text;
  if (rest[0] == '@') {
    const size_t blank = rest.find(' ');
    std::string guard = rest.substr(1, blank - 1);
    instruction_.guard_negated = guard[0] == '!';
    if (instruction_.guard_negated) guard.erase(0, 1);
    const Unit predicate_number = predicate(guard);
    instruction_.guard = static_cast<int16_t>(predicate_number);
    rest = rest.substr(blank + 1);
  }
  const size_t blank = rest.find(' ');
  const std::string whole = rest.substr(0, blank);
  words_ = split(whole, '.');
  // "mov.b32" splits at every dot; "::" belongs to a modifier such as L2::128B.
  operands_ = blank == std::string::npos ? std::vector<std::string>{} : split_list(rest.substr(blank + 1));
  used_.assign(operands_.size(), false);
  const auto found = decoders().find(words_[0]);
  if (found == decoders().end()) refuse("unknown instruction");
  instruction_.opcode = opcode_number(whole);
  found->second(*this);
  for (size_t i = 1; i < words_.size(); ++i)
    if (!words_[i].empty()) refuse("unknown modifier ." + words_[i]);
  for (size_t i = 0; i < used_.size(); ++i)
    if (!used_[i]) refuse("unexpected operand " + operands_[i]);
  kernel_.code.push_back(instruction_);
}

uint16_t Decoder::opcode_number(const std::string& whole) {
  const auto [place, added] = opcodes_.emplace(whole, static_cast<uint16_t>(kernel_.opcodes.size()));
  if (added) kernel_.opcodes.push_back(whole);
  return place->second;
}

bool Decoder::take(std::string_view modifier) {
  for (size_t i = 1; i < words_.size(); ++i)
    if (words_[i] == modifier) {
      words_[i].clear();
      return true;
    }
  return false;
}

std::string Decoder::take_one_of(std::initializer_list<std::string_view> modifiers, bool optional) {
  for (const std::string_view modifier : modifiers)
    if (take(modifier)) return std::string(modifier);
  if (!optional) refuse("a modifier is missing");
  return "";
}

Type Decoder::take_type() {
  for (size_t i = 1; i < words_.size(); ++i)
    if (const auto type = type_of(words_[i])) {
      words_[i].clear();
      return *type;
    }
  refuse("no type");
}

const std::string& Decoder::operand(size_t i) {
  if (i >= operands_.size()) refuse("an operand is missing");
  used_[i] = true;
  return operands_[i];
}

Unit Decoder::constant(uint64_t value, int bytes) {
  if (bytes < 8) value &= (1ull << 8 * bytes) - 1;
  const auto key = std::make_pair(value, bytes);
  if (const auto found = constants_.find(key); found != constants_.end()) return found->second;
  const Unit unit = add_unit(bytes);
  kernel_.constants.push_back({unit, static_cast<uint8_t>(bytes), value});
  return constants_[key] = unit;
}

Unit Decoder::special(Special which, int bytes) {
  const auto key = std::make_pair(which, bytes);
  if (const auto found = specials_.find(key); found != specials_.end()) return found->second;
  const Unit unit = add_unit(bytes);
  kernel_.specials.push_back({unit, which, static_cast<uint8_t>(bytes)});
  return specials_[key] = unit;
}

Unit Decoder::source(const std::string& text, int bytes, bool wider) {
  bytes = std::max(bytes, 2);
  if (const Symbol* symbol = find(text)) {
    switch (symbol->kind) {
      case Symbol::kRegister:
        if (symbol->bytes != bytes && !(wider && symbol->bytes > bytes)) refuse(text + " has another width");
        return use(*symbol, false);
      case Symbol::kPredicate:
        refuse(text + " is a predicate");
      case Symbol::kDynamicShared:
        return special(Special::kDynamicSharedStart, bytes);
      default:
        return constant(symbol->value, bytes);
    }
  }
  if (const auto which = special_of(text)) return special(*which, bytes);
  if (text == "WARP_SZ") return constant(kLanes, bytes);
  if (const auto value = number_of(text)) return constant(*value, bytes);
  for (const Variable& variable : variables_)
    if (variable.name == text) {
      if (variable.address == 0) refuse("the module is not loaded");
      return constant(variable.address, bytes);
    }
  refuse("unknown operand " + text);
}

Unit Decoder::destination(const std::string& text, int bytes) {
  if (text == "_") return add_unit(bytes);
  const Symbol* const symbol = find(text);
  if (!symbol || symbol->kind != Symbol::kRegister) refuse(text + " is no register");
  if (symbol->bytes != std::max(bytes, 2)) refuse(text + " has another width");
  return use(*symbol, true);
}

int Decoder::register_bytes(const std::string& text) const {
  const Symbol* const symbol = find(text);
  return symbol && symbol->kind == Symbol::kRegister ? symbol->bytes : 0;
}

Unit Decoder::predicate(const std::string& text, bool* negated) {
  std::string name = text;
  if (negated && !name.empty() && name[0] == '!') {
    *negated = true;
    name.erase(0, 1);
  }
  if (name == "_") return static_cast<Unit>(kernel_.predicates++);
  const Symbol* const symbol = find(name);
  if (!symbol || symbol->kind != Symbol::kPredicate) refuse(name + " is no predicate");
  return static_cast<Unit>(symbol->value);
}

bool Decoder::is_predicate(const std::string& text) const {
  const Symbol* const symbol = find(text[0] == '!' ? text.substr(1) : text);
  return symbol && symbol->kind == Symbol::kPredicate;
}

bool Decoder::is_immediate(const std::string& text) const { return number_of(text).has_value(); }

int64_t Decoder::immediate(size_t i) {
  const auto value = number_of(operand(i));
  if (!value) refuse(operand(i) + " is no number");
  return static_cast<int64_t>(*value);
}

void Decoder::memory(size_t i, Unit& base, int64_t& offset, int base_bytes) {
  const std::string& text = operand(i);
  if (text.size() < 3 || text.front() != '[' || text.back() != ']') refuse(text + " is no memory operand");
  const std::string inside = trim(std::string_view(text).substr(1, text.size() - 2));
  const size_t plus = inside.find('+');
  const std::string name = trim(std::string_view(inside).substr(0, plus));
  offset = 0;
  if (plus != std::string::npos) {
    const auto number = number_of(trim(std::string_view(inside).substr(plus + 1)));
    if (!number) refuse("an offset that is no number");
    offset = static_cast<int64_t>(*number);
  }
  const int bytes = register_bytes(name);
  if (bytes != 0 && bytes < 4) refuse("an address of less than 32 bits");
  base = source(name, bytes != 0 ? bytes : base_bytes);
  instruction_.mode = bytes != 0 ? static_cast<uint8_t>(bytes) : static_cast<uint8_t>(base_bytes);
}

std::vector<std::string> Decoder::vector(size_t i) {
  const std::string& text = operand(i);
  if (text.front() != '{') return {text};
  return split_list(std::string_view(text).substr(1, text.size() - 2));
}

void Decoder::branch_to(const std::string& label) {
  fixups_.push_back({static_cast<uint32_t>(kernel_.code.size()), label, scope_, false, line_});
}

void Decoder::branch_by_table(const std::string& label) {
  fixups_.push_back({static_cast<uint32_t>(kernel_.code.size()), label, scope_, true, line_});
}

uint32_t Decoder::find_label(const Fixup& fixup, const std::string& name) {
  for (int scope = fixup.scope; scope >= 0; scope = scopes_[scope].parent) {
    const auto found = scopes_[scope].labels.find(name);
    if (found != scopes_[scope].labels.end()) return found->second;
  }
  throw Unsupported("line " + std::to_string(fixup.line) + ": no label " + name);
}

void Decoder::finish() {
  // A kernel may end without `ret`.
  Statement end{Statement::kText, "ret", kernel_.code.empty() ? 0 : kernel_.code.back().line};
  decode(end);
  for (const Fixup& fixup : fixups_) {
    Instruction& instruction = kernel_.code[fixup.instruction];
    if (!fixup.table) {
      instruction.target = find_label(fixup, fixup.label);
      continue;
    }
    std::vector<uint32_t> targets;
    for (int scope = fixup.scope; scope >= 0 && targets.empty(); scope = scopes_[scope].parent)
      if (const auto found = scopes_[scope].tables.find(fixup.label); found != scopes_[scope].tables.end())
        for (const std::string& name : found->second) targets.push_back(find_label(fixup, name));
    if (targets.empty()) throw Unsupported("line " + std::to_string(fixup.line) + ": no targets " + fixup.label);
    instruction.target = static_cast<uint32_t>(kernel_.branch_tables.size());
    kernel_.branch_tables.push_back(std::move(targets));
  }
  kernel_.units = next_unit_;
}

}  // namespace moe::ptx
