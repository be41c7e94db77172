// PTX text and the kernels in it. A kernel is decoded when it is asked for: the text of a matrix product is long.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/ptx/device_memory.h"
#include "cuda/ptx/program.h"
#include "cuda/ptx/statement.h"

namespace moe::ptx {

// A module-scope variable in global or constant memory.
struct Variable {
  std::string name;
  uint64_t bytes = 0;
  std::vector<uint8_t> initial;  // empty: zeros
  uint64_t address = 0;          // once the module is loaded
};

// ".shared .align 4 .b8 name[128] = {1, 2}" and the like.
struct Declaration {
  std::string name;
  Type type = Type::kB8;
  uint32_t alignment = 1;
  uint64_t bytes = 0;
  std::vector<std::string> initial;
};

class Module {
 public:
  // Throws Unsupported, naming the line, for what stands outside of kernels; `kernel` does for what stands inside.
  explicit Module(std::string text);

  // Puts the module's variables into device memory. Kernels that use them need it.
  void load(DeviceMemory& memory);

  bool has(std::string_view name) const { return kernels_.count(name) != 0; }
  std::vector<std::string> kernel_names() const;
  // Any thread may ask. Throws std::out_of_range where there is none of that name.
  const Kernel& kernel(std::string_view name);
  const std::vector<Variable>& variables() const { return variables_; }
  std::string line(int number) const;  // of the text

 private:
  struct Entry {
    std::string header;
    int line;
    size_t begin, end;  // statements of the body
    std::unique_ptr<Kernel> kernel;
  };
  void read_statement(const Statement& statement);
  std::unique_ptr<Kernel> decode(const Entry& entry);

  std::string text_;
  std::vector<size_t> line_starts_;
  std::vector<Statement> statements_;
  std::string target_;
  std::vector<Variable> variables_;
  std::vector<Declaration> shared_, dynamic_;
  std::map<std::string, Entry, std::less<>> kernels_;
  std::mutex mutex_;
};

}  // namespace moe::ptx
