#include "ascend/backend/simulator.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>

namespace moe::test::simulator {
namespace {

// The library that the backend has open, under whichever of its names.
void* library() {
  static void* const opened = [] {
    const std::string folder = std::string(std::getenv("ASCEND_HOME_PATH")) + "/lib64/";
    void* const newer = dlopen((folder + "libacl_rt.so").c_str(), RTLD_LAZY);
    return newer ? newer : dlopen((folder + "libascendcl.so").c_str(), RTLD_LAZY);
  }();
  return opened;
}

template <class Function>
Function* symbol(const char* name) {
  void* const address = dlsym(library(), name);
  if (!address) throw std::runtime_error(std::string("ASCEND_HOME_PATH names no simulator: it lacks ") + name);
  return reinterpret_cast<Function*>(address);
}

class RulesAreKept : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override { reset(); }
  void OnTestEnd(const testing::TestInfo&) override {
    for (const std::string& violation : violations()) ADD_FAILURE() << violation;
    EXPECT_EQ(leaks(), "");
  }
};

// gtest owns it.
const bool listening = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new RulesAreKept);
  return true;
}();

}  // namespace

void fail(const std::string& function, int nth, int status) {
  symbol<void(const char*, int, int)>("ascend_sim_fail")(function.c_str(), nth, status);
}

void lose_device(int after_tasks) { symbol<void(int)>("ascend_sim_lose_device")(after_tasks); }

void set_memory(size_t bytes_per_device) { symbol<void(size_t)>("ascend_sim_set_memory")(bytes_per_device); }

void reset() { symbol<void()>("ascend_sim_reset")(); }

std::vector<std::string> violations() {
  std::vector<std::string> sentences;
  const size_t count = symbol<size_t()>("ascend_sim_violations")();
  for (size_t i = 0; i < count; ++i) sentences.emplace_back(symbol<const char*(size_t)>("ascend_sim_violation")(i));
  return sentences;
}

std::string leaks() { return symbol<const char*()>("ascend_sim_leaks")(); }

}  // namespace moe::test::simulator
