// ggml as the npm package @node-llama-cpp/* ships it. Its headers are not in that package: functions are looked up at
// run time.
#pragma once

#include <dlfcn.h>

#include <stdexcept>
#include <string>
#include <vector>

using Handle = void*;  // every ggml object: context, tensor, graph, backend, buffer

class Ggml {
 public:
  explicit Ggml(const std::string& folder) {
    for (const char* name : {"/libggml-base.so", "/libggml.v0.5.0.so"}) {
      void* library = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_GLOBAL);
      if (!library) throw std::runtime_error(dlerror());
      libraries_.push_back(library);
    }
  }

  // Calls a function by name. Arguments must have the C function's own types.
  template <typename Result = Handle, typename... Arguments>
  Result call(const char* name, Arguments... arguments) const {
    return as<Result(Arguments...)>(find(name))(arguments...);
  }

  template <typename Function>
  static Function* as(void* address) {
    return reinterpret_cast<Function*>(address);
  }

 private:
  void* find(const char* name) const {
    for (void* library : libraries_)
      if (void* address = dlsym(library, name)) return address;
    throw std::runtime_error(std::string("this ggml has no ") + name);
  }

  std::vector<void*> libraries_;
};
