// gloo's exceptions as this project's.
#pragma once
#include <exception>
#include <string>

#include "core/error.h"

namespace moe::gloo_tcp {

// gloo's messages begin with a place in its source.
std::string without_place(const std::string& message);

// kTimeout where nothing came in time, else kPeerLost: gloo tells the two apart in its message only.
Error to_error(const std::exception& error, const std::string& what);

}  // namespace moe::gloo_tcp
