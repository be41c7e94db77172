#include "core/host/usable_cpus.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace moe {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

int cpus_of_affinity() {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// cgroup v2: "max 100000" or "150000 100000", quota and period in microseconds.
double quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || !(period > 0)) return kNoLimit;
  return std::atof(quota.c_str()) / period;
}

// cgroup v1: a quota of -1 means none.
double quota_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (!(quota_file >> quota) || !(period_file >> period) || !(quota > 0) || !(period > 0)) return kNoLimit;
  return quota / period;
}

// The smallest quota from the group at `path` up to the root of its mount.
double quota_of_path(const std::string& mount, std::string path, double (*quota)(const std::string&)) {
  double least = quota(mount);
  while (!path.empty() && path != "/") {
    least = std::min(least, quota(mount + path));
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  return least;
}

// Lines of "id:controllers:path"; version 2 has no controllers.
double cpus_of_quota(const std::string& root) {
  double least = kNoLimit;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string id, controllers, path;
       std::getline(groups, id, ':') && std::getline(groups, controllers, ':') && std::getline(groups, path);) {
    if (controllers.empty()) least = std::min(least, quota_of_path(root + "/sys/fs/cgroup", path, quota_v2));
    if (controllers == "cpu" || controllers == "cpu,cpuacct" || controllers == "cpuacct,cpu")
      least = std::min(least, quota_of_path(root + "/sys/fs/cgroup/cpu", path, quota_v1));
  }
  return least;
}

}  // namespace

int usable_cpus(int affinity, const std::string& root) {
  const double quota = std::ceil(cpus_of_quota(root));
  return quota < affinity ? std::max(1, static_cast<int>(quota)) : affinity;
}

int usable_cpus() { return usable_cpus(cpus_of_affinity(), ""); }

int usable_cpus_at_start() {
  static const int cpus = usable_cpus();
  return cpus;
}

}  // namespace moe
