// Handles are addresses that nobody may read and that are never used twice, so a handle that was destroyed, or is of
// another kind, is told apart from one that lives.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "violations.h"

namespace ascend_sim {

struct Object {
  virtual ~Object() = default;
  virtual const char* kind() const = 0;
  virtual std::string describe() const { return kind(); }  // for the list of leaks; empty: no leak
};

// Address space that traps on every access. Device memory and handles get their addresses here.
uintptr_t reserve_addresses(size_t size, size_t alignment);

void* add_handle(std::shared_ptr<Object> object);
// Null when the handle is not live; `trouble` then says why.
std::shared_ptr<Object> find_handle(const void* handle, std::string& trouble);
std::shared_ptr<Object> take_handle(const void* handle, std::string& trouble);
std::string leaked_handles();

template <class T>
std::shared_ptr<T> cast_handle(std::shared_ptr<Object> object, int code, const std::string& trouble) {
  if (!object) throw Fault{code, std::string("the ") + T::kKind + " handle " + trouble};
  auto cast = std::dynamic_pointer_cast<T>(object);
  if (!cast) throw Fault{code, std::string("expected a ") + T::kKind + ", got a " + object->kind()};
  return cast;
}

template <class T>
std::shared_ptr<T> find(const void* handle, int code = kInvalidParam) {
  std::string trouble;
  auto object = find_handle(handle, trouble);
  return cast_handle<T>(std::move(object), code, trouble);
}

// Takes the handle out: it is destroyed.
template <class T>
std::shared_ptr<T> take(const void* handle, int code = kInvalidParam) {
  auto object = find<T>(handle, code);
  std::string trouble;
  take_handle(handle, trouble);
  return object;
}

}  // namespace ascend_sim
