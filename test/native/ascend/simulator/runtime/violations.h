// Broken rules are recorded as sentences. A function of CANN's interface is one `call`: it counts, may be told to fail,
// and turns a Fault into a return code and the thread's recent error message.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "../abi.h"

namespace ascend_sim {

// A rule that was broken: thrown inside, a violation and a return code outside.
struct Fault {
  int code;
  std::string sentence;
};

// A failure that is nobody's fault: no memory, a lost device, a failure that was asked for.
struct Failure {
  int code;
  std::string sentence;
};

void record(const std::string& sentence);
void set_recent_message(const std::string& message);
std::vector<std::string> violations();

// Throws Failure when this call is to fail, or when the device is lost and the function is not one that gives back.
void enter(const char* function);
void count_task();  // a queued task is about to run: may lose the device
bool device_lost();

template <class Body>
int call(const char* function, Body&& body) noexcept {
  try {
    enter(function);
    std::forward<Body>(body)();
    return kSuccess;
  } catch (const Fault& fault) {
    const std::string sentence = std::string(function) + ": " + fault.sentence;
    record(sentence);
    set_recent_message(sentence);
    return fault.code;
  } catch (const Failure& failure) {
    set_recent_message(std::string(function) + ": " + failure.sentence);
    return failure.code;
  }
}

inline void require(bool holds, int code, const std::string& sentence) {
  if (!holds) throw Fault{code, sentence};
}

inline void require_pointer(const void* pointer, const char* what) {
  require(pointer != nullptr, kInvalidParam, std::string(what) + " is null");
}

}  // namespace ascend_sim
