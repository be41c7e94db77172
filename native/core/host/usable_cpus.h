// How many CPUs this process may use.
#pragma once
#include <string>

namespace moe {

// Gives the affinity mask's count, or the quota of the process's control groups, rounded up, where that is less.
int usable_cpus();
// Gives what it was when the process first asked, which costs nothing.
int usable_cpus_at_start();
// Does the same for an affinity mask of so many, with the files of control groups below `root`.
int usable_cpus(int affinity, const std::string& root);

}  // namespace moe
