// How many CPUs this process may use.
#pragma once
#include <string>

namespace moe {

// The affinity mask's count, or the quota of the process's control groups, rounded up, where that is less. At least 1.
int usable_cpus();
// What it was when the process first asked: it costs nothing.
int usable_cpus_at_start();
// The same for an affinity mask of so many, with the files of control groups below `root`.
int usable_cpus(int affinity, const std::string& root);

}  // namespace moe
