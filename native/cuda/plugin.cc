#include "core/plugin.h"

#include "cuda/device.h"
#include "cuda/info.h"

extern "C" const moe::Plugin* moe_plugin() {
  static const moe::Plugin cuda{
      moe::kBuildId, "cuda", moe::cuda::why_unavailable, moe::cuda::devices,
      [](int index) -> std::unique_ptr<moe::Device> { return std::make_unique<moe::cuda::CudaDevice>(index); }};
  return &cuda;
}
