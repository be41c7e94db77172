// What a test may ask of the emulated device, by environment variables read once.
#pragma once
#include <cstddef>
#include <map>
#include <string>

namespace moe::emulator {

// The n-th call of a function, counted from 1, fails.
struct FailingCall {
  int call = 0;
  int code = 0;  // cudaError_t
};

struct Settings {
  std::string ptx_folder;                 // CUDA_SIM_PTX: where kernels' PTX lies; default: where the build put it
  int architecture = 80;                  // CUDA_SIM_ARCH
  int devices = 1;                        // CUDA_SIM_DEVICES; 0: no device
  int driver_version = 13000;             // CUDA_SIM_DRIVER; 0: none is installed
  size_t memory_bytes = size_t{2} << 30;  // CUDA_SIM_MEMORY, per device
  int lost_after = 0;                     // CUDA_SIM_LOST_AFTER: the launch after which the device is lost; 0: none
  std::map<std::string, FailingCall> failing;  // CUDA_SIM_FAIL=function:n:code[,...]
  std::string report_file;              // CUDA_SIM_REPORT: faults, misuse and leaks go there, a line each, at exit
  std::string profile_file;             // CUDA_SIM_PROFILE: what kernels did, as JSON, at exit
  std::string block_order = "forward";  // CUDA_SIM_ORDER: forward, backward or shuffled
};

Settings settings_of_environment();

}  // namespace moe::emulator
