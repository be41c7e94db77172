// Native errors as JavaScript errors with a code.
#pragma once
#include <exception>

#include "addon/napi_setup.h"
#include "core/error.h"

namespace moe {

// ERR_MOE_... of an error code; src/base/errors.ts has the same list.
const char* code_text(ErrorCode code);

// Error codes in order.
Napi::Array error_code_list(Napi::Env env);

// An Error whose `code` is the text of the native code; anything but moe::Error and bad_alloc is ERR_MOE_INTERNAL.
Napi::Error to_js(Napi::Env env, const std::exception_ptr& error);

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
