// Devices, streams, memory and copies used wrongly.
#include <thread>

#include "fault_table.h"

namespace ascend_sim {
namespace {

void forgotten_synchronization(Lab& lab, bool wrong) {
  Array x(lab, {4}, kFloat, {1, 2, 3, 4});
  Array y(lab, {4}, kFloat);
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  expect(aclnnSiluGetWorkspaceSize(x.tensor, y.tensor, &size, &executor));
  expect(aclnnSilu(nullptr, 0, executor, lab.stream));
  if (!wrong) expect(aclrtSynchronizeStream(lab.stream));
  std::vector<float> result(4);
  aclrtMemcpy(result.data(), 16, y.memory, 16, kDeviceToHost);
}

void double_free(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(64);
  lab.forget(memory);
  expect(aclrtFree(memory));
  if (wrong) aclrtFree(memory);
}

void freed_while_queued(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(64);
  lab.forget(memory);
  expect(aclrtMemsetAsync(memory, 64, 0, 64, lab.stream));
  if (!wrong) expect(aclrtSynchronizeStream(lab.stream));
  aclrtFree(memory);
}

void copy_past_the_end(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(64);
  std::vector<char> host(96);
  aclrtMemcpy(memory, 96, host.data(), wrong ? 96 : 64, kHostToDevice);
}

void wrong_direction(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(64);
  std::vector<char> host(64);
  aclrtMemcpy(memory, 64, host.data(), 64, wrong ? kDeviceToHost : kHostToDevice);
}

void no_context_on_the_thread(Lab& lab, bool wrong) {
  (void)lab;
  std::thread([wrong] {
    if (!wrong) expect(aclrtSetDevice(0));
    void* memory = nullptr;
    if (aclrtMalloc(&memory, 64, 0) == kSuccess) expect(aclrtFree(memory));
    if (!wrong) expect(aclrtResetDevice(0));
  }).join();
}

void streams_without_order(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(64);
  aclrtStream other = nullptr;
  aclrtEvent event = nullptr;
  expect(aclrtCreateStream(&other));
  expect(aclrtCreateEvent(&event));
  expect(aclrtMemsetAsync(memory, 64, 1, 64, lab.stream));
  expect(aclrtRecordEvent(event, lab.stream));
  if (!wrong) expect(aclrtStreamWaitEvent(other, event));
  aclrtMemsetAsync(memory, 64, 2, 64, other);
  expect(aclrtSynchronizeStream(other));
  expect(aclrtSynchronizeStream(lab.stream));
  expect(aclrtDestroyStream(other));
  expect(aclrtDestroyEvent(event));
}

void source_changed_under_the_copy(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(64);
  void* host = nullptr;
  expect(aclrtMallocHost(&host, 64));
  std::memset(host, 1, 64);
  expect(aclrtMemcpyAsync(memory, 64, host, 64, kHostToDevice, lab.stream));
  if (!wrong) expect(aclrtSynchronizeStream(lab.stream));
  std::memset(host, 2, 64);
  aclrtSynchronizeStream(lab.stream);
  expect(aclrtFreeHost(host));
}

void pageable_memory_on_310p(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(64);
  std::vector<char> pageable(64);
  void* pinned = nullptr;
  expect(aclrtMallocHost(&pinned, 64));
  std::memset(pinned, 0, 64);
  aclrtMemcpyAsync(memory, 64, wrong ? pageable.data() : pinned, 64, kHostToDevice, lab.stream);
  expect(aclrtSynchronizeStream(lab.stream));
  expect(aclrtFreeHost(pinned));
}

void empty_allocation(Lab& lab, bool wrong) {
  (void)lab;
  void* memory = nullptr;
  if (aclrtMalloc(&memory, wrong ? 0 : 1, 0) == kSuccess) expect(aclrtFree(memory));
}

void stream_of_another_context(Lab& lab, bool wrong) {
  void* const memory = lab.allocate(64);
  std::thread([&] {
    expect(aclrtSetDevice(wrong ? 1 : 0));
    aclrtMemsetAsync(memory, 64, 1, 64, lab.stream);
    if (!wrong) expect(aclrtSynchronizeStream(lab.stream));
    expect(aclrtResetDevice(wrong ? 1 : 0));
  }).join();
}

void untimed_events(Lab& lab, bool wrong) {
  aclrtEvent events[2];
  for (aclrtEvent& event : events) {
    expect(aclrtCreateEventWithFlag(&event, wrong ? kEventSync : kEventTimeLine));
    expect(aclrtRecordEvent(event, lab.stream));
  }
  expect(aclrtSynchronizeStream(lab.stream));
  float milliseconds = -1;
  aclrtEventElapsedTime(&milliseconds, events[0], events[1]);
  EXPECT_TRUE(wrong || milliseconds >= 0);
  for (aclrtEvent event : events) expect(aclrtDestroyEvent(event));
}

void use_after_destroy(Lab& lab, bool wrong) {
  (void)lab;
  aclrtStream other = nullptr;
  expect(aclrtCreateStream(&other));
  if (wrong) expect(aclrtDestroyStream(other));
  aclrtSynchronizeStream(other);
  if (!wrong) expect(aclrtDestroyStream(other));
}

}  // namespace

std::vector<SeededFault> runtime_faults() {
  return {
      {"ForgottenSynchronization", "its stream was not synchronised", forgotten_synchronization},
      {"DoubleFree", "it was freed", double_free},
      {"FreedWhileQueued", "memory that is freed is still used by queued aclrtMemsetAsync", freed_while_queued},
      {"CopyPastTheEnd", "its allocation ends after 64", copy_past_the_end},
      {"WrongDirection", "the kind says device to host, the pointers host to device", wrong_direction},
      {"NoContextOnTheThread", "this thread has no current context", no_context_on_the_thread},
      {"StreamsWithoutOrder", "no event or synchronisation orders the two", streams_without_order},
      {"SourceChangedUnderTheCopy", "the host changed the source", source_changed_under_the_copy},
      {"PageableMemoryOn310P", "must come from aclrtMallocHost", pageable_memory_on_310p, "Ascend310P3"},
      {"EmptyAllocation", "the size is 0", empty_allocation},
      {"StreamOfAnotherContext", "belongs to another context", stream_of_another_context},
      {"UntimedEvents", "the events keep no time", untimed_events},
      {"UseAfterDestroy", "was destroyed before", use_after_destroy},
  };
}

}  // namespace ascend_sim
