// What nvcc would have made for the host: a function per kernel, whose address stands for it.
#include "cuda/kernels/list.h"
#include "cuda/kernels/tasks.h"
#include "cuda/runtime/device.h"

using namespace moe::cuda;

// No two may be folded into one.
#define MOE_CUDA_STUB(name, Task) \
  extern "C" __attribute__((noipa)) void name(Task) { asm volatile("# " #name); }
MOE_CUDA_KERNELS(MOE_CUDA_STUB)
#undef MOE_CUDA_STUB

namespace {

const bool known = [] {
#define MOE_CUDA_REGISTER(name, Task) \
  moe::emulator::Device::instance().add_kernel(reinterpret_cast<const void*>(&::name), #name);
  MOE_CUDA_KERNELS(MOE_CUDA_REGISTER)
#undef MOE_CUDA_REGISTER
  return true;
}();

}  // namespace
