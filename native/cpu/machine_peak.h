// What this machine can do, to compare measurements with.
#pragma once
#include <stop_token>

namespace moe::cpu {

struct MachinePeak {
  int threads;
  double gflops;                // multiply-adds in registers, with the instruction set the cpu device uses
  double gigabytes_per_second;  // reading a buffer far larger than the caches
};

// What the machine sustains for `seconds` each, beside whatever else runs on it; less when asked to stop. threads <= 0:
// all the process may use. Throws kOutOfMemory, and kDeviceUnavailable when MOE_CPU_ISA names a set the CPU lacks.
MachinePeak measure_machine_peak(int threads, double seconds, const std::stop_token& stop = {});

}  // namespace moe::cpu
