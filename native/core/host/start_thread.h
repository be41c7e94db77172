// Threads that may not be had.
#pragma once
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "core/error.h"

namespace moe {

// The error for a thread that the system refused. `name` says which it was to be.
inline Error no_thread(const std::string& name, const std::system_error& error) {
  return {ErrorCode::kDevice, "Could not start " + name + ": " + error.code().message() +
                                  "; this user or container may have no more threads (`ulimit -u`, the pids limit)"};
}

// A thread that runs `body`. Throws `no_thread`.
template <class Body>
std::thread start_thread(const std::string& name, Body body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    throw no_thread(name, error);
  }
}

}  // namespace moe
