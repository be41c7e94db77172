#include "core/host/usable_cpus.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/host/host_executor.h"

namespace moe {
namespace {

// A root of files as a process in control groups finds them.
class UsableCpus : public testing::Test {
 protected:
  UsableCpus() : root_(std::filesystem::temp_directory_path() / ("cgroups-" + std::to_string(getpid()))) {}
  ~UsableCpus() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  int of(int affinity) const { return usable_cpus(affinity, root_.string()); }

 private:
  std::filesystem::path root_;
};

TEST_F(UsableCpus, AreThoseOfTheAffinityMaskWithoutALimit) {
  EXPECT_EQ(of(64), 64);
  write("proc/self/cgroup", "0::/pod\n");
  write("sys/fs/cgroup/pod/cpu.max", "max 100000\n");
  EXPECT_EQ(of(64), 64);
}

TEST_F(UsableCpus, AreTheQuotaOfAnyGroupAboveTheProcess) {
  write("proc/self/cgroup", "0::/pod/container\n");
  write("sys/fs/cgroup/pod/container/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/pod/cpu.max", "200000 100000\n");
  EXPECT_EQ(of(64), 2);
  EXPECT_EQ(of(1), 1);
  write("sys/fs/cgroup/pod/container/cpu.max", "50000 100000\n");
  EXPECT_EQ(of(64), 1) << "half a CPU is one";
}

TEST_F(UsableCpus, AreTheQuotaOfVersionOne) {
  write("proc/self/cgroup", "3:cpu,cpuacct:/pod\n");
  write("sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "250000\n");
  write("sys/fs/cgroup/cpu/pod/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(of(64), 3);
}

// Whatever starts threads for another device asks the same place.
TEST_F(UsableCpus, BoundTheThreadsOfAnExecutor) {
  write("proc/self/cgroup", "0::/pod\n");
  write("sys/fs/cgroup/pod/cpu.max", "200000 100000\n");
  EXPECT_EQ(HostExecutor(0, of(64)).threads(), 2);
  EXPECT_EQ(HostExecutor(16, of(64)).threads(), 2);
  EXPECT_EQ(HostExecutor(1, of(64)).threads(), 1);
}

}  // namespace
}  // namespace moe
