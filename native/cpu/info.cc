#include <unistd.h>

#include <fstream>
#include <string>

#include "core/host/usable_cpus.h"
#include "cpu/device.h"
#include "cpu/kernels.h"

namespace moe::cpu {
namespace {

// The value of the first line "key : value", or nothing.
std::string cpuinfo(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (line.compare(0, key.size(), key) == 0 && colon != std::string::npos && colon + 2 <= line.size())
      return line.substr(colon + 2);
  }
  return "";
}

// x86 has a model name; Arm has numbers, and a device tree on some boards.
std::string cpu_name() {
  if (std::string name = cpuinfo("model name"); !name.empty()) return name;
  if (const std::string part = cpuinfo("CPU part"); !part.empty())
    return "Arm CPU, implementer " + cpuinfo("CPU implementer") + ", part " + part;
  return "CPU";
}

size_t memory_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
  return pages > 0 && page_bytes > 0 ? static_cast<size_t>(pages) * static_cast<size_t>(page_bytes) : 0;
}

}  // namespace

DeviceInfo device_info() {
  return {.index = 0,
          .name = cpu_name(),
          .kernels = describe_choice(),
          .threads = usable_cpus(),
          .memory_bytes = memory_bytes(),
          .emulated = false,
          .capabilities = CpuDevice::can()};
}

}  // namespace moe::cpu
