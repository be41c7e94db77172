// Which chip and which CANN release is simulated.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace ascend_sim {

enum class Soc { kA2, kA3, k310P };

Soc soc();                  // the family of soc_name()
std::string soc_name();     // ASCEND_SIM_SOC, Ascend910B1 by default
std::string family_name();  // "910B", "910_93", "310P"
int32_t device_count();     // ASCEND_SIM_DEVICES, 2 by default
size_t device_memory();     // ASCEND_SIM_MEMORY, bytes per device

// How long queued work nobody waits for lies idle: ASCEND_SIM_DELAY_MS, 10 by default.
int idle_milliseconds();

}  // namespace ascend_sim
