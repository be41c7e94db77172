// Kernels: attributes and launches.
#include "cuda/runtime/api.h"

using namespace moe::emulator;

extern "C" {

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* stub) {
  return call("cudaFuncGetAttributes", [&](Device& device) {
    const KernelState* const kernel = device.kernel_of(stub);
    if (!kernel) return device.misuse(cudaErrorInvalidDeviceFunction, "cudaFuncGetAttributes of no kernel");
    const moe::ptx::Kernel& code = device.code_of(kernel->name);
    *attributes = {};
    attributes->sharedSizeBytes = code.shared_bytes;
    attributes->localSizeBytes = code.local_bytes;
    attributes->maxThreadsPerBlock = static_cast<int>(code.max_threads);
    attributes->maxDynamicSharedSizeBytes = kernel->dynamic_shared_bytes;
    attributes->binaryVersion = device.settings().architecture;
    attributes->ptxVersion = device.settings().architecture;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetAttribute(const void* stub, cudaFuncAttribute attribute, int value) {
  return call("cudaFuncSetAttribute", [&](Device& device) {
    KernelState* const kernel = device.kernel_of(stub);
    if (!kernel) return device.misuse(cudaErrorInvalidDeviceFunction, "cudaFuncSetAttribute of no kernel");
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    cudaDeviceProp properties;
    cudaGetDeviceProperties(&properties, 0);
    const int most = static_cast<int>(properties.sharedMemPerBlockOptin);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > most)
      return device.misuse(cudaErrorInvalidValue, "cudaFuncSetAttribute of " + kernel->name + ": " +
                                                      std::to_string(value) + " bytes of shared memory, of " +
                                                      std::to_string(most));
    kernel->dynamic_shared_bytes = value;
    return cudaSuccess;
  });
}

// Arguments are read before it returns. What the device would refuse when the kernel starts is refused here.
cudaError_t cudaLaunchKernel(const void* stub, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                             cudaStream_t stream) {
  return call("cudaLaunchKernel", [&](Device& device) {
    const KernelState* const kernel = device.kernel_of(stub);
    if (!kernel) return device.misuse(cudaErrorInvalidDeviceFunction, "cudaLaunchKernel of no kernel");
    if (!stream) return device.misuse(cudaErrorInvalidResourceHandle, "cudaLaunchKernel without a stream");
    const auto refuse = [&](const std::string& why) {
      return device.misuse(cudaErrorInvalidConfiguration, "cudaLaunchKernel of " + kernel->name + ": " + why);
    };
    const moe::ptx::Kernel& code = device.code_of(kernel->name);
    moe::ptx::Launch launch{
        {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, static_cast<uint32_t>(shared_bytes), {}};
    const uint64_t threads = launch.block.count();
    if (threads == 0 || threads > code.max_threads) return refuse(std::to_string(threads) + " threads");
    if (launch.grid.count() == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
      return refuse("a grid of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " +
                    std::to_string(grid.z));
    if (static_cast<int>(shared_bytes) > kernel->dynamic_shared_bytes)
      return refuse(std::to_string(shared_bytes) + " bytes of shared memory, of " +
                    std::to_string(kernel->dynamic_shared_bytes));
    std::vector<const void*> pointers(arguments, arguments + code.parameters.size());
    launch.parameters = moe::ptx::pack_parameters(code, pointers);
    as_stream(stream)->add(
        guarded([name = kernel->name, launch = std::move(launch)](Device& d) { d.run(name, launch); }));
    return cudaSuccess;
  });
}

}  // extern "C"
