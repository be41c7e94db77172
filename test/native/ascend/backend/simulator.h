// The simulator, from inside a test: what is to fail, and which rules were broken. After every test the rules that were
// broken and what was not given back fail it.
#pragma once
#include <string>
#include <vector>

namespace moe::test::simulator {

// The n-th call of a function from now on fails with this status.
void fail(const std::string& function, int nth, int status);
// The device is lost after so many pieces of work.
void lose_device(int after_tasks);
void set_memory(size_t bytes_per_device);
// No failure is planned, no rule was broken, the device is there.
void reset();
std::vector<std::string> violations();
// What is alive; empty when all was given back.
std::string leaks();

}  // namespace moe::test::simulator
