#include "addon/errors.h"

#include <iterator>
#include <new>

namespace moe {
namespace {

constexpr const char* kCodes[] = {
    "ERR_MOE_CONFIG",        "ERR_MOE_SHAPE",   "ERR_MOE_CHECKPOINT",  "ERR_MOE_DEVICE_UNAVAILABLE",
    "ERR_MOE_OUT_OF_MEMORY", "ERR_MOE_DEVICE",  "ERR_MOE_DEVICE_LOST", "ERR_MOE_QUEUE_FULL",
    "ERR_MOE_PEER_LOST",     "ERR_MOE_TIMEOUT", "ERR_MOE_ABORTED",     "ERR_MOE_CLOSED",
    "ERR_MOE_INTERNAL",
};
static_assert(std::size(kCodes) == static_cast<size_t>(ErrorCode::kInternal) + 1);

Napi::Error make(Napi::Env env, ErrorCode code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Value().Set("code", Napi::String::New(env, kCodes[static_cast<size_t>(code)]));
  return error;
}

}  // namespace

Napi::Array error_code_list(Napi::Env env) {
  return list_of(env, kCodes, [](const char* code) { return code; });
}

Napi::Error to_js(Napi::Env env, const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return make(env, known.code(), known.what());
  } catch (const std::bad_alloc&) {
    return make(env, ErrorCode::kOutOfMemory, "The host is out of memory");
  } catch (const std::exception& unknown) {
    return make(env, ErrorCode::kInternal, unknown.what());
  }
}

}  // namespace moe
