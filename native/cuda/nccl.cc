#include "cuda/nccl.h"

#include <dlfcn.h>

#include <optional>

namespace moe::cuda {
namespace {

std::optional<Nccl> open() {
  void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library) return std::nullopt;
  Nccl functions{};
  bool complete = true;
  const auto find = [&]<class Function>(const char* symbol, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library, symbol));
    complete = complete && function;
  };
  find("ncclGetUniqueId", functions.get_unique_id);
  find("ncclCommInitRankConfig", functions.init);
  find("ncclCommGetAsyncError", functions.async_error);
  find("ncclGroupStart", functions.group_start);
  find("ncclGroupEnd", functions.group_end);
  find("ncclSend", functions.send);
  find("ncclRecv", functions.receive);
  find("ncclCommDestroy", functions.destroy);
  find("ncclCommAbort", functions.abort);
  find("ncclGetErrorString", functions.error_string);
  return complete ? std::optional(functions) : std::nullopt;
}

}  // namespace

const Nccl* nccl() {
  static const std::optional<Nccl> functions = open();
  return functions ? &*functions : nullptr;
}

}  // namespace moe::cuda
