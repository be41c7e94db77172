#include "violations.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "../control.h"
#include "handles.h"
#include "memory.h"

namespace ascend_sim {
namespace {

struct Planned {
  int countdown;
  int code;
};

struct State {
  std::mutex mutex;
  std::vector<std::string> sentences;
  std::map<std::string, Planned> planned;
  int tasks_until_lost = -1;
  bool lost = false;
};

State& state() {
  static State& state = *[] {
    auto* const made = new State;
    if (const char* const text = std::getenv("ASCEND_SIM_FAIL")) {  // function:nth[:code]
      std::string function(text);
      int nth = 1;
      int code = kFailure;
      const size_t colon = function.find(':');
      if (colon != std::string::npos) {
        std::sscanf(function.c_str() + colon + 1, "%d:%d", &nth, &code);
        function.resize(colon);
      }
      made->planned[function] = {nth, code};
    }
    if (const char* const text = std::getenv("ASCEND_SIM_LOST_AT")) made->tasks_until_lost = std::atoi(text);
    return made;
  }();
  return state;
}

// Plain arrays: they are still there when static objects are destroyed.
thread_local char recent_message[4096];
thread_local char returned_message[4096];

bool gives_back(const char* function) {
  for (const char* const part :
       {"Destroy", "Free", "Reset", "Finalize", "aclCreate", "aclrtGet", "aclrtSetCurrent", "Repeatable"})
    if (std::strstr(function, part)) return true;
  return false;
}

// Runs after every static destructor, so what those give back is no leak.
__attribute__((destructor)) void write_report() {
  const char* const path = std::getenv("ASCEND_SIM_REPORT");
  if (!path) return;
  std::FILE* const file = std::fopen(path, "a");
  if (!file) return;
  for (const std::string& sentence : violations()) std::fprintf(file, "%s\n", sentence.c_str());
  std::fputs((leaked_handles() + leaked_memory()).c_str(), file);
  std::fclose(file);
}

}  // namespace

void record(const std::string& sentence) {
  const std::lock_guard lock(state().mutex);
  state().sentences.push_back(sentence);
}

std::vector<std::string> violations() {
  const std::lock_guard lock(state().mutex);
  return state().sentences;
}

void set_recent_message(const std::string& message) {
  std::snprintf(recent_message, sizeof recent_message, "%s", message.c_str());
}

void enter(const char* function) {
  State& all = state();
  const std::lock_guard lock(all.mutex);
  if (all.lost && !gives_back(function)) throw Failure{kRtDeviceLost, "the device is lost"};
  const auto found = all.planned.find(function);
  if (found == all.planned.end() || --found->second.countdown != 0) return;
  const int code = found->second.code;
  all.planned.erase(found);
  throw Failure{code, "this call was told to fail with " + std::to_string(code)};
}

void count_task() {
  State& all = state();
  const std::lock_guard lock(all.mutex);
  if (all.tasks_until_lost > 0 && --all.tasks_until_lost == 0) all.lost = true;
}

bool device_lost() {
  const std::lock_guard lock(state().mutex);
  return state().lost;
}

}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

const char* aclGetRecentErrMsg() {
  if (recent_message[0] == 0) return nullptr;
  std::memcpy(returned_message, recent_message, sizeof returned_message);
  recent_message[0] = 0;
  return returned_message;
}

size_t ascend_sim_violations() { return violations().size(); }

const char* ascend_sim_violation(size_t index) {
  const std::lock_guard lock(state().mutex);
  return index < state().sentences.size() ? state().sentences[index].c_str() : nullptr;
}

void ascend_sim_reset() {
  const std::lock_guard lock(state().mutex);
  state().sentences.clear();
  state().planned.clear();
  state().tasks_until_lost = -1;
  state().lost = false;
}

void ascend_sim_fail(const char* function, int nth, int code) {
  const std::lock_guard lock(state().mutex);
  state().planned[function] = {nth, code};
}

void ascend_sim_lose_device(int nth_task) {
  const std::lock_guard lock(state().mutex);
  state().tasks_until_lost = nth_task;
}

const char* ascend_sim_leaks() {
  static thread_local std::string text;
  text = leaked_handles() + leaked_memory();
  return text.c_str();
}

}  // extern "C"
