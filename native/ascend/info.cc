#include "ascend/cann_library.h"
#include "ascend/device.h"
#include "ascend/soc.h"
#include "core/error.h"

namespace moe::ascend {
namespace {

uint32_t count_devices(const CannLibrary& cann) {
  uint32_t count = 0;
  const cann::Status status = cann.runtime.device_count(&count);
  if (status != cann::kSuccess)
    throw Error(ErrorCode::kDeviceUnavailable, "CANN is installed, but aclrtGetDeviceCount failed with " +
                                                   std::to_string(status) + cann.recent_error());
  if (count == 0) throw Error(ErrorCode::kDeviceUnavailable, "CANN is installed, but it finds no NPU");
  return count;
}

// What every layer needs.
void expect_operators(const CannLibrary& cann) {
  const cann::Operators& operators = cann.operators;
  if (!operators.grouped_matmul_v5) cann.require(operators.grouped_matmul_v4);
  cann.require(operators.matmul);
  cann.require(operators.cast);
  cann.require(operators.index_select);
  cann.require(operators.finalize_routing);
}

// "GroupedMatmulV5 (V4 unused)": which of several generations is called.
std::string describe_operators(const cann::Operators& operators, const SocProfile& profile) {
  std::string text = operators.grouped_matmul_v5 ? "GroupedMatmulV5" : "GroupedMatmulV4 (CANN lacks V5)";
  if (!profile.gating) return text + ", routing on the host";
  text += operators.init_routing_v3 ? ", MoeInitRoutingV3" : ", MoeInitRoutingV2 (CANN lacks V3)";
  text += operators.gating_softmax_v2 ? ", MoeGatingTopKSoftmaxV2" : ", no MoeGatingTopKSoftmaxV2";
  return text + (operators.gating ? ", MoeGatingTopK" : ", no MoeGatingTopK (CANN lacks it)");
}

}  // namespace

std::string why_unavailable() {
  try {
    const CannLibrary& cann = cann_library();
    count_devices(cann);
    profile_of(cann.runtime.soc_name());
    expect_operators(cann);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<DeviceInfo> device_infos() {
  const CannLibrary& cann = cann_library();
  const std::string soc = cann.runtime.soc_name();
  const SocProfile& profile = profile_of(soc);
  std::vector<DeviceInfo> infos;
  for (uint32_t index = 0; index < count_devices(cann); ++index)
    infos.push_back({.index = static_cast<int>(index),
                     .name = cann.simulator.empty() ? soc : soc + ", " + cann.simulator,
                     .kernels = std::string(profile.family) + ": " + describe_operators(cann.operators, profile),
                     .threads = 0,
                     .memory_bytes = 0,
                     .emulated = !cann.simulator.empty(),
                     .capabilities = capabilities_of(profile)});
  return infos;
}

}  // namespace moe::ascend
