// What tests ask of the simulator beyond CANN's interface. A library that exports ascend_sim_name is the simulator.
#pragma once
#include <cstddef>

#pragma GCC visibility push(default)
extern "C" {

const char* ascend_sim_name();

// Rules that were broken, as sentences, oldest first. The pointer is good until the next reset.
size_t ascend_sim_violations();
const char* ascend_sim_violation(size_t index);
void ascend_sim_reset();  // forgets violations, planned failures and a lost device, not memory or handles

// The n-th call (from now, 1 is the next) of a function fails with this code.
void ascend_sim_fail(const char* function, int nth, int code);
void ascend_sim_lose_device(int nth_task);  // the n-th task from now finds the device lost
void ascend_sim_set_memory(size_t bytes_per_device);
void ascend_sim_set_soc(const char* name);

// What is still alive, as sentences: handles, device and pinned memory. Empty when all was given back.
const char* ascend_sim_leaks();

}  // extern "C"
#pragma GCC visibility pop
