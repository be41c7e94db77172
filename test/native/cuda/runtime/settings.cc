#include "cuda/runtime/settings.h"

#include <cstdlib>

#include "cuda/ptx/statement.h"

namespace moe::emulator {

Settings settings_of_environment() {
  Settings settings;
  settings.ptx_folder = MOE_PTX_FOLDER;
  const auto text = [](const char* name, std::string& to) {
    if (const char* value = std::getenv(name)) to = value;
  };
  const auto number = [](const char* name, auto& to) {
    if (const char* value = std::getenv(name)) to = std::strtoll(value, nullptr, 0);
  };
  text("CUDA_SIM_PTX", settings.ptx_folder);
  text("CUDA_SIM_REPORT", settings.report_file);
  text("CUDA_SIM_PROFILE", settings.profile_file);
  text("CUDA_SIM_ORDER", settings.block_order);
  number("CUDA_SIM_ARCH", settings.architecture);
  number("CUDA_SIM_DEVICES", settings.devices);
  number("CUDA_SIM_DRIVER", settings.driver_version);
  number("CUDA_SIM_MEMORY", settings.memory_bytes);
  number("CUDA_SIM_LOST_AFTER", settings.lost_after);
  std::string failing;
  text("CUDA_SIM_FAIL", failing);
  for (const std::string& each : ptx::split_list(failing)) {
    const auto parts = ptx::split(each, ':');
    if (parts.size() == 3) settings.failing[parts[0]] = {std::atoi(parts[1].c_str()), std::atoi(parts[2].c_str())};
  }
  return settings;
}

}  // namespace moe::emulator
