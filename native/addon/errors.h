// Native errors as JavaScript errors with a code.
#pragma once
#include <exception>

#include "addon/napi_setup.h"
#include "core/error.h"

namespace moe {

// ERR_MOE_... of each error code in order; src/base/errors.ts has the same list.
Napi::Array error_code_list(Napi::Env env);

// An Error whose `code` is the text of the native code; anything but moe::Error and bad_alloc is ERR_MOE_INTERNAL.
Napi::Error to_js(Napi::Env env, const std::exception_ptr& error);

// An array of what `to_js` makes of each item.
template <class Items, class ToJs>
Napi::Array list_of(Napi::Env env, const Items& items, const ToJs& to_js) {
  const Napi::Array list = Napi::Array::New(env);
  for (const auto& item : items) list.Set(list.Length(), to_js(item));
  return list;
}

// Runs a function called from JavaScript: what it throws natively is thrown in JavaScript.
template <class Body>
auto guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_js(env, std::current_exception());
  }
}

}  // namespace moe
