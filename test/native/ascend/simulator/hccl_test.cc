// Groups of ranks, each a thread with a device of its own, and groups used wrongly.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "lab.h"

namespace ascend_sim {
namespace {

using Values = std::vector<double>;

struct Rank {
  uint32_t rank;
  uint32_t size;
  HcclComm comm;
  aclrtStream stream;

  void* upload(const std::vector<float>& values) const {
    void* const memory = allocate(values.size());
    expect(aclrtMemcpy(memory, values.size() * 4, values.data(), values.size() * 4, kHostToDevice));
    return memory;
  }
  void* allocate(size_t floats) const {
    void* memory = nullptr;
    expect(aclrtMalloc(&memory, floats * 4, 0));
    return memory;
  }
  std::vector<float> download(const void* memory, size_t count) const {
    std::vector<float> values(count);
    expect(aclrtSynchronizeStream(stream));
    expect(aclrtMemcpy(values.data(), count * 4, memory, count * 4, kDeviceToHost));
    return values;
  }
};

// Runs `body` on every rank at once. Devices 0 and up; `clean`: it must break no rule.
template <class Body>
void with_ranks(uint32_t size, Body body) {
  setenv("ASCEND_SIM_DEVICES", "4", 1);
  setenv("HCCL_EXEC_TIMEOUT", "5", 1);
  setenv("HCCL_CONNECT_TIMEOUT", "10", 1);
  ascend_sim_set_soc("Ascend910B1");
  ascend_sim_set_memory(size_t{1} << 28);
  ascend_sim_reset();
  aclInit(nullptr);
  HcclRootInfo root{};
  expect(aclrtSetDevice(0));
  expect(HcclGetRootInfo(&root));
  expect(aclrtResetDevice(0));
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      expect(aclrtSetDevice(static_cast<int32_t>(rank)));
      Rank here{rank, size, nullptr, nullptr};
      expect(aclrtCreateStream(&here.stream));
      expect(HcclCommInitRootInfo(size, &root, rank, &here.comm));
      body(here);
      aclrtSynchronizeStream(here.stream);
      expect(HcclCommDestroy(here.comm));
      expect(aclrtDestroyStream(here.stream));
      aclrtResetDeviceForce(static_cast<int32_t>(rank));
    });
  for (std::thread& thread : threads) thread.join();
}

void free_all_of(std::initializer_list<void*> memory) {
  for (void* each : memory) expect(aclrtFree(each));
}

TEST(Hccl, AllGatherPutsRanksInOrder) {
  with_ranks(3, [](const Rank& r) {
    void* const send = r.upload({static_cast<float>(r.rank), static_cast<float>(10 * r.rank)});
    void* const receive = r.allocate(6);
    expect(HcclAllGather(send, receive, 2, kHcclFp32, r.comm, r.stream));
    EXPECT_EQ(r.download(receive, 6), (std::vector<float>{0, 0, 1, 10, 2, 20}));
    free_all_of({send, receive});
  });
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Hccl, AllReduceMayWorkInPlace) {
  with_ranks(4, [](const Rank& r) {
    void* const memory = r.upload({static_cast<float>(r.rank + 1), -static_cast<float>(r.rank)});
    expect(HcclAllReduce(memory, memory, 2, kHcclFp32, kHcclSum, r.comm, r.stream));
    EXPECT_EQ(r.download(memory, 2), (std::vector<float>{10, -6}));
    expect(HcclAllReduce(memory, memory, 2, kHcclFp32, kHcclMax, r.comm, r.stream));
    EXPECT_EQ(r.download(memory, 2), (std::vector<float>{10, -6}));
    free_all_of({memory});
  });
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Hccl, ReduceScatterAndBroadcast) {
  with_ranks(2, [](const Rank& r) {
    void* const send = r.upload({1, 2, 3, static_cast<float>(r.rank)});
    void* const receive = r.allocate(2);
    expect(HcclReduceScatter(send, receive, 2, kHcclFp32, kHcclSum, r.comm, r.stream));
    EXPECT_EQ(r.download(receive, 2), (r.rank == 0 ? std::vector<float>{2, 4} : std::vector<float>{6, 1}));
    expect(HcclBroadcast(receive, 2, kHcclFp32, 1, r.comm, r.stream));
    EXPECT_EQ(r.download(receive, 2), (std::vector<float>{6, 1}));
    expect(HcclBarrier(r.comm, r.stream));
    expect(aclrtSynchronizeStream(r.stream));
    free_all_of({send, receive});
  });
  EXPECT_EQ(joined(broken_rules()), "");
}

// Rank r sends r + p rows to rank p.
TEST(Hccl, AllToAllVOfUnevenAndEmptyPieces) {
  with_ranks(3, [](const Rank& r) {
    uint64_t counts[3], offsets[3], receive_counts[3], receive_offsets[3];
    std::vector<float> values;
    uint64_t received = 0;
    for (uint32_t p = 0; p < 3; ++p) {
      counts[p] = r.rank + p;
      offsets[p] = values.size();
      for (uint64_t i = 0; i < counts[p]; ++i) values.push_back(static_cast<float>(100 * r.rank + 10 * p + i));
      receive_counts[p] = p + r.rank;
      receive_offsets[p] = received;
      received += receive_counts[p];
    }
    values.push_back(0);
    void* const send = r.upload(values);
    void* const receive = r.allocate(received);
    expect(HcclAlltoAllV(send, counts, offsets, kHcclFp32, receive, receive_counts, receive_offsets, kHcclFp32, r.comm,
                         r.stream));
    std::vector<float> expected;
    for (uint32_t p = 0; p < 3; ++p)
      for (uint64_t i = 0; i < p + r.rank; ++i) expected.push_back(static_cast<float>(100 * p + 10 * r.rank + i));
    EXPECT_EQ(r.download(receive, received), expected);
    free_all_of({send, receive});
  });
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Hccl, LargePiecesDoNotBlockOneAnother) {
  with_ranks(2, [](const Rank& r) {
    constexpr size_t count = 1 << 19;
    void* const send = r.upload(std::vector<float>(count, static_cast<float>(r.rank)));
    void* const receive = r.allocate(count);
    expect(HcclAlltoAll(send, count / 2, kHcclFp32, receive, count / 2, kHcclFp32, r.comm, r.stream));
    const auto values = r.download(receive, count);
    EXPECT_EQ(values[0], 0);
    EXPECT_EQ(values[count - 1], 1);
    free_all_of({send, receive});
  });
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Hccl, SendMeetsReceive) {
  with_ranks(2, [](const Rank& r) {
    void* const memory = r.upload({static_cast<float>(r.rank)});
    expect(r.rank == 0 ? HcclSend(memory, 1, kHcclFp32, 1, r.comm, r.stream)
                       : HcclRecv(memory, 1, kHcclFp32, 0, r.comm, r.stream));
    EXPECT_EQ(r.download(memory, 1)[0], 0);
    free_all_of({memory});
  });
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Hccl, OneProcessMayMakeAllCommunicators) {
  Lab lab;
  setenv("ASCEND_SIM_DEVICES", "2", 1);
  int32_t devices[] = {0, 1};
  HcclComm comms[2];
  expect(HcclCommInitAll(2, devices, comms));
  for (uint32_t i = 0; i < 2; ++i) {
    uint32_t rank = 9;
    uint32_t size = 9;
    char name[128];
    expect(HcclGetRankId(comms[i], &rank));
    expect(HcclGetRankSize(comms[i], &size));
    expect(HcclGetCommName(comms[i], name));
    EXPECT_EQ(rank, i);
    EXPECT_EQ(size, 2U);
    expect(HcclCommDestroy(comms[i]));
  }
  EXPECT_EQ(joined(broken_rules()), "");
}

// Ranks as processes. The exit status of a child says whether it saw what it should.
template <class Body>
std::vector<int> fork_ranks(int size, Body body) {
  setenv("ASCEND_SIM_DEVICES", "4", 1);
  setenv("HCCL_EXEC_TIMEOUT", "5", 1);
  HcclRootInfo root{};
  aclInit(nullptr);
  expect(aclrtSetDevice(0));
  expect(HcclGetRootInfo(&root));
  expect(aclrtResetDevice(0));
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    Rank here{static_cast<uint32_t>(rank), static_cast<uint32_t>(size), nullptr, nullptr};
    const bool joined = aclrtSetDevice(rank) == kSuccess && aclrtCreateStream(&here.stream) == kSuccess &&
                        HcclCommInitRootInfo(size, &root, rank, &here.comm) == kSuccess;
    _exit(joined && body(here) ? 0 : 1);
  }
  std::vector<int> statuses;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    statuses.push_back(status);
  }
  return statuses;
}

TEST(Hccl, RanksMayBeProcesses) {
  const auto statuses = fork_ranks(3, [](const Rank& r) {
    void* const memory = r.upload({static_cast<float>(r.rank + 1)});
    void* const all = r.allocate(3);
    expect(HcclAllGather(memory, all, 1, kHcclFp32, r.comm, r.stream));
    expect(HcclAllReduce(memory, memory, 1, kHcclFp32, kHcclSum, r.comm, r.stream));
    return r.download(memory, 1)[0] == 6 && r.download(all, 3) == std::vector<float>{1, 2, 3} && broken_rules().empty();
  });
  EXPECT_EQ(statuses, (std::vector<int>{0, 0, 0}));
}

TEST(Hccl, AKilledProcessIsAnErrorForTheOthers) {
  const auto statuses = fork_ranks(2, [](const Rank& r) {
    if (r.rank == 1) raise(SIGKILL);
    void* const memory = r.upload({1});
    expect(HcclAllReduce(memory, memory, 1, kHcclFp32, kHcclSum, r.comm, r.stream));
    HcclResult error = 0;
    return aclrtSynchronizeStream(r.stream) == kRtStreamError && HcclGetCommAsyncError(r.comm, &error) == kSuccess &&
           error == 21;
  });
  EXPECT_EQ(statuses[0], 0);
  EXPECT_TRUE(WIFSIGNALED(statuses[1]));
}

// ---- used wrongly

void expect_rule(const std::string& sentence) {
  EXPECT_NE(joined(broken_rules()).find(sentence), std::string::npos) << joined(broken_rules());
}

TEST(HcclFaults, AnotherOrderOnAnotherRank) {
  with_ranks(2, [](const Rank& r) {
    void* const send = r.upload({1});
    void* const receive = r.allocate(2);
    if (r.rank == 0)
      HcclAllGather(send, receive, 1, kHcclFp32, r.comm, r.stream);
    else
      HcclAllReduce(send, receive, 1, kHcclFp32, kHcclSum, r.comm, r.stream);
    EXPECT_EQ(aclrtSynchronizeStream(r.stream), kRtStreamError);
  });
  expect_rule("all must issue the same in the same order");
}

TEST(HcclFaults, CountsThatDoNotMatch) {
  with_ranks(2, [](const Rank& r) {
    const uint64_t counts[] = {1, 1};
    const uint64_t offsets[] = {0, 1};
    const uint64_t expected[] = {1, r.rank == 0 ? 2U : 1U};
    void* const send = r.upload({1, 2});
    void* const receive = r.allocate(3);
    HcclAlltoAllV(send, counts, offsets, kHcclFp32, receive, expected, offsets, kHcclFp32, r.comm, r.stream);
    aclrtSynchronizeStream(r.stream);
  });
  expect_rule("rank 1 sends 4 bytes, this rank expects 8");
}

TEST(HcclFaults, CountsOnTheDevice) {
  with_ranks(1, [](const Rank& r) {
    void* const memory = r.upload({0, 0, 0, 0});
    void* const receive = r.allocate(4);
    const uint64_t zero = 0;
    HcclAlltoAllV(memory, memory, &zero, kHcclFp32, receive, &zero, &zero, kHcclFp32, r.comm, r.stream);
  });
  expect_rule("are host arrays of uint64");
}

TEST(HcclFaults, TheNumberOfAnAclType) {
  with_ranks(1, [](const Rank& r) {
    void* const memory = r.upload({0});
    HcclAllReduce(memory, memory, 1, kBf16, kHcclSum, r.comm, r.stream);
  });
  expect_rule("its numbers are not those of aclDataType");
}

TEST(HcclFaults, TheSameBufferBothWays) {
  with_ranks(1, [](const Rank& r) {
    void* const memory = r.upload({0, 0});
    HcclAlltoAll(memory, 1, kHcclFp32, memory, 1, kHcclFp32, r.comm, r.stream);
  });
  expect_rule("the send and receive buffers overlap");
}

TEST(HcclFaults, BothRanksSendFirst) {
  with_ranks(2, [](const Rank& r) {
    void* const memory = r.upload({1});
    HcclSend(memory, 1, kHcclFp32, 1 - r.rank, r.comm, r.stream);
    EXPECT_EQ(aclrtSynchronizeStream(r.stream), kRtStreamError);
  });
  expect_rule("where this rank's HcclSend needs its HcclRecv");
}

TEST(HcclFaults, TwoRanksOnOneDevice) {
  Lab lab;
  HcclRootInfo root{};
  expect(HcclGetRootInfo(&root));
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      expect(aclrtSetDevice(0));
      HcclComm comm = nullptr;
      EXPECT_NE(HcclCommInitRootInfo(2, &root, rank, &comm), kSuccess);
      expect(aclrtResetDevice(0));
    });
  for (std::thread& thread : threads) thread.join();
  expect_rule("are both on device 0");
}

TEST(Hccl, ALostRankIsAnErrorNotAHang) {
  with_ranks(2, [](const Rank& r) {
    if (r.rank == 1) return;
    void* const memory = r.upload({1});
    expect(HcclAllReduce(memory, memory, 1, kHcclFp32, kHcclSum, r.comm, r.stream));
    EXPECT_EQ(aclrtSynchronizeStream(r.stream), kRtStreamError);
    HcclResult error = 0;
    expect(HcclGetCommAsyncError(r.comm, &error));
    EXPECT_EQ(error, 21);
    free_all_of({memory});
  });
  EXPECT_EQ(joined(broken_rules()), "");
}

}  // namespace
}  // namespace ascend_sim
