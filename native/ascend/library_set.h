// Shared libraries that are found at run time, and the symbols in them.
#pragma once
#include <string>
#include <vector>

namespace moe::ascend {

// Where CANN may stand: what its set_env.sh exports. Empty where it is not set.
struct SearchPath {
  std::string home;        // ASCEND_HOME_PATH: libraries are in its lib64
  std::string opp;         // ASCEND_OPP_PATH: operator packages, among them those of other vendors
  std::string custom_opp;  // ASCEND_CUSTOM_OPP_PATH: operator packages that come first, with colons between

  static SearchPath from_environment();
  // For a reader: the folders that `open` looks in.
  std::string description() const;
};

// Libraries in the order in which a symbol is looked for. They stay open for the life of the process: their threads run
// on.
class LibrarySet {
 public:
  explicit LibrarySet(const SearchPath& search) : search_(search) {}

  // Opens `name` from the home folder or else where the system's loader finds it, unless it is a stub to link against.
  // False where there is none; `problems` says why.
  bool open(const char* name);
  // Opens the operator libraries of other vendors, in the order that CANN gives them.
  void open_custom_operators();

  // Null where no library has it.
  void* find(const char* symbol) const;
  template <class Function>
  void find(const std::string& symbol, Function*& function) const {
    function = reinterpret_cast<Function*>(find(symbol.c_str()));
  }
  // Finds every function of a table; the symbols that no library has.
  template <class Table>
  std::vector<std::string> find_all(Table& table) const {
    std::vector<std::string> missing;
    table.each([&](const char* symbol, auto& function) {
      find(std::string(symbol), function);
      if (!function) missing.emplace_back(symbol);
    });
    return missing;
  }

  const std::vector<std::string>& opened() const { return opened_; }      // paths
  const std::vector<std::string>& problems() const { return problems_; }  // one for each that could not be opened

 private:
  bool open_file(const std::string& path);

  SearchPath search_;
  std::vector<void*> libraries_;
  std::vector<std::string> opened_, problems_;
};

}  // namespace moe::ascend
