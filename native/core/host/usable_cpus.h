// How many CPUs this process may use.
#pragma once

namespace moe {

// The affinity mask's count, or the quota of the process's control groups, rounded up, where that is less. At least 1.
int usable_cpus();

}  // namespace moe
