// gloo's exceptions as this project's.
#pragma once
#include <exception>
#include <string>

#include "core/error.h"

namespace moe::gloo_tcp {

// gloo's messages begin with a place in its source.
inline std::string without_place(const std::string& message) {
  const size_t end = message.find("] ");
  return !message.empty() && message[0] == '[' && end != std::string::npos ? message.substr(end + 2) : message;
}

// kTimeout where nothing came in time, else kPeerLost: gloo tells the two apart in its message only.
inline Error to_error(const std::exception& error, const std::string& what) {
  const std::string reason = without_place(error.what());
  const bool late = reason.starts_with("Timed out") || reason.find("Connect timeout") != std::string::npos;
  return {late ? ErrorCode::kTimeout : ErrorCode::kPeerLost, what + ": " + reason};
}

}  // namespace moe::gloo_tcp
