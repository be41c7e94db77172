#include "ascend/cann_library.h"

#include <initializer_list>
#include <vector>

#include "core/error.h"

namespace moe::ascend {
namespace {

std::string join(const std::vector<std::string>& parts, const char* between) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : between) + part;
  return text;
}

[[noreturn]] void unavailable(const std::string& reason) { throw Error(ErrorCode::kDeviceUnavailable, reason); }

// The first of the libraries that is there and has every symbol of the table.
template <class Table>
LibrarySet open_table(const SearchPath& search, std::initializer_list<const char*> names, Table& table) {
  std::vector<std::string> problems;
  for (const char* name : names) {
    LibrarySet libraries(search);
    if (!libraries.open(name)) {
      problems.push_back(libraries.problems().back());
      continue;
    }
    const std::vector<std::string> missing = libraries.find_all(table);
    if (missing.empty()) return libraries;
    problems.push_back(libraries.opened().back() + " lacks " + join(missing, ", "));
  }
  unavailable("CANN was not found: looked for " + join({names.begin(), names.end()}, " and ") + " " +
              search.description() + " (" + join(problems, "; ") + "); source CANN's set_env.sh before Node starts");
}

// From CANN 8.5 on operators are split over several libraries, which must not be mixed with the one of before.
LibrarySet open_operators(const SearchPath& search) {
  LibrarySet libraries(search);
  libraries.open_custom_operators();
  if (libraries.open("libopapi_transformer.so")) {
    for (const char* name : {"libopapi_nn.so", "libopapi_math.so", "libopapi_cv.so"}) libraries.open(name);
    return libraries;
  }
  if (libraries.open("libopapi.so")) return libraries;
  if (libraries.open("libaclnn_ops_infer.so")) {
    libraries.open("libaclnn_math.so");
    return libraries;
  }
  unavailable("CANN has no operators: looked for libopapi_transformer.so, libopapi.so and libaclnn_ops_infer.so " +
              search.description() + " (" + join(libraries.problems(), "; ") + ")");
}

void initialize(const CannLibrary& cann) {
  const cann::Status status = cann.runtime.init(nullptr);
  if (status == cann::kSuccess || status == cann::kRepeatInitialize) return;
  if (status == cann::kStubLibrary) unavailable("CANN's runtime library is a stub to link against");
  unavailable("aclInit failed with " + std::to_string(status) + cann.recent_error());
}

}  // namespace

std::string CannLibrary::recent_error() const {
  const char* const text = runtime.recent_error();
  return text && *text ? std::string(": ") + text : "";
}

void CannLibrary::missing(const char* name, const char* since) const {
  unavailable("CANN lacks the operator " + std::string(name) + ", which CANN " + since + " has: looked in " +
              operators_from);
}

CannLibrary open_cann(const SearchPath& search) {
  CannLibrary cann;
  const LibrarySet runtime = open_table(search, {"libacl_rt.so", "libascendcl.so"}, cann.runtime);
  open_table(search, {"libnnopbase.so"}, cann.arguments);

  const LibrarySet operators = open_operators(search);
  cann.operators_from = join(operators.opened(), ", ");
  cann.operators.each([&](auto& operation) {
    operators.find(operation.name + std::string("GetWorkspaceSize"), operation.prepare);
    operators.find(std::string(operation.name), operation.run);
  });

  if (void* const name = runtime.find("ascend_sim_name")) cann.simulator = reinterpret_cast<const char* (*)()>(name)();
  return cann;
}

const CannLibrary& cann_library() {
  static const CannLibrary library = [] {
    CannLibrary opened = open_cann(SearchPath::from_environment());
    initialize(opened);
    return opened;
  }();
  return library;
}

}  // namespace moe::ascend
