// CANN, opened at run time: every function the backend calls, resolved once.
#pragma once
#include <string>

#include "ascend/cann/arguments.h"
#include "ascend/cann/operators.h"
#include "ascend/cann/runtime.h"
#include "ascend/library_set.h"

namespace moe::ascend {

struct CannLibrary {
  cann::Runtime runtime{};
  cann::Arguments arguments{};
  cann::Operators operators{};  // those that are missing are null; see `require`
  std::string operators_from;   // the library they come from, with its path
  std::string simulator;        // what a stand-in calls itself; empty for the vendor's libraries

  // "aclGetRecentErrMsg's text", or nothing: what this thread's last failure was about.
  std::string recent_error() const;

  // Throws kDeviceUnavailable, naming the operator and a release of CANN that has it.
  template <class... Args>
  void require(const cann::Operator<Args...>& operation) const {
    if (!operation) missing(operation.name, operation.since);
  }

 private:
  [[noreturn]] void missing(const char* name, const char* since) const;
};

// Throws kDeviceUnavailable: one line that says what was looked for, and where.
CannLibrary open_cann(const SearchPath& search);

// The process has one, which the first call opens and initialises. Throws as open_cann does.
const CannLibrary& cann_library();

}  // namespace moe::ascend
