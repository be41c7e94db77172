// Turns statements into instructions. Every modifier and operand must be consumed: what is left over is refused.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/ptx/fault.h"
#include "cuda/ptx/module.h"
#include "cuda/ptx/program.h"
#include "cuda/ptx/register_allocation.h"
#include "cuda/ptx/statement.h"

namespace moe::ptx {

// What a name stands for inside a kernel.
struct Symbol {
  enum Kind { kRegister, kPredicate, kShared, kDynamicShared, kLocal, kParameter, kGlobal } kind;
  uint32_t value = 0;  // register, predicate, or offset in its space
  uint8_t bytes = 0;   // of a register
};

class Decoder {
 public:
  // A kernel is decoded twice: first to learn where its registers are used, then with the places that follow.
  Decoder(const std::vector<Variable>& variables, Kernel& kernel, const Allocation* allocation)
      : variables_(variables), kernel_(kernel), allocation_(allocation) {
    if (allocation) next_unit_ = allocation->units;
  }

  // Scopes of names and labels.
  void open_scope();
  void close_scope();
  void declare(const std::string& name, Symbol symbol);
  void declare_registers(const std::string& directive);
  void label(const std::string& name);
  void branch_targets(const std::string& label, const std::string& list);

  void decode(const Statement& statement);
  // Lays constants and special registers out, resolves branches, ends the code with a return.
  void finish();
  Allocation allocation() const { return allocate_registers(kernel_, uses_, register_units_); }

  // For the decoders of single opcodes. -----------------------------------------------------------------------------
  Instruction& out() { return instruction_; }
  const std::string& opcode() const { return words_[0]; }
  bool take(std::string_view modifier);
  // The one of these modifiers that is there, or "" where `optional`.
  std::string take_one_of(std::initializer_list<std::string_view> modifiers, bool optional = false);
  Type take_type();
  size_t operand_count() const { return operands_.size(); }
  const std::string& operand(size_t i);
  // The i-th operand as a source of `bytes` bytes (a register may be wider where `wider`), or as a destination.
  Unit source(size_t i, int bytes, bool wider = false) { return source(operand(i), bytes, wider); }
  Unit source(const std::string& text, int bytes, bool wider = false);
  Unit destination(size_t i, int bytes) { return destination(operand(i), bytes); }
  Unit destination(const std::string& text, int bytes);
  Unit predicate(const std::string& text, bool* negated = nullptr);
  bool is_predicate(const std::string& text) const;
  bool is_immediate(const std::string& text) const;
  int64_t immediate(size_t i);
  // Bytes of the register a name stands for; 0 for anything else.
  int register_bytes(const std::string& text) const;
  // "[base+offset]"
  void memory(size_t i, Unit& base, int64_t& offset, int base_bytes);
  std::vector<std::string> vector(size_t i);  // "{a, b}", or one element
  void branch_to(const std::string& label);
  void branch_by_table(const std::string& label);
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  struct Scope {
    std::map<std::string, Symbol> symbols;
    std::map<std::string, uint32_t> labels;
    std::map<std::string, std::vector<std::string>> tables;
    int parent;
  };
  struct Fixup {
    uint32_t instruction;
    std::string label;
    int scope;
    bool table;
    int line;
  };

  const Symbol* find(const std::string& name) const;
  uint32_t find_label(const Fixup& fixup, const std::string& name);
  Unit constant(uint64_t value, int bytes);
  Unit special(Special which, int bytes);
  Unit add_unit(int bytes);
  uint16_t opcode_number(const std::string& whole);

  Unit use(const Symbol& symbol, bool writes);

  const std::vector<Variable>& variables_;
  Kernel& kernel_;
  const Allocation* const allocation_;
  std::vector<RegisterUse> uses_;
  std::vector<uint8_t> register_units_;
  std::vector<Scope> scopes_;
  int scope_ = -1;
  std::vector<Fixup> fixups_;
  std::map<std::pair<uint64_t, int>, Unit> constants_;
  std::map<std::pair<Special, int>, Unit> specials_;
  std::map<std::string, uint16_t> opcodes_;
  uint32_t next_unit_ = 0;

  // Of the statement at hand.
  Instruction instruction_;
  std::vector<std::string> words_, operands_;
  std::vector<bool> used_;
  int line_ = 0;
  std::string text_;
};

using Decode = void (*)(Decoder&);
using DecodeTable = std::vector<std::pair<std::string_view, Decode>>;

// One table per group of opcodes.
const DecodeTable& arithmetic_decoders();    // add, mul, mad, shl, ...
const DecodeTable& bit_decoders();           // popc, bfe, lop3, ...
const DecodeTable& floating_decoders();      // fma, ex2, and the packed 16-bit kinds
const DecodeTable& comparing_decoders();     // setp, selp, min, max
const DecodeTable& moving_decoders();        // mov, cvta, prmt, cvt
const DecodeTable& memory_decoders();        // ld, st, atom, red, cp.async
const DecodeTable& control_decoders();       // bra, ret, bar
const DecodeTable& warp_decoders();          // shfl, vote, redux
void decode_warp_barrier(Decoder& decoder);  // bar.warp.sync
const DecodeTable& matrix_decoders();        // ldmatrix, mma

}  // namespace moe::ptx
