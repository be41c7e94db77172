#include <gtest/gtest.h>

#include <new>
#include <set>

#include "core/experts/workspace.h"
#include "fakes/host_device.h"

namespace moe::test {
namespace {

class RecordingBackend final : public HostDevice {
 public:
  void* allocate(size_t bytes) override {
    if (full) throw std::bad_alloc();
    last_bytes = bytes;
    return *held.insert(HostDevice::allocate(bytes)).first;
  }
  void deallocate(void* memory) noexcept override {
    EXPECT_EQ(held.erase(memory), 1u);
    HostDevice::deallocate(memory);
  }

  std::set<void*> held;
  size_t last_bytes = 0;
  bool full = false;
};

TEST(GrowingBuffer, GrowsForALargerRequestAndHoldsOneBlock) {
  RecordingBackend backend;
  {
    DeviceBuffer buffer(backend);
    EXPECT_NE(buffer.reserve<float>(0), nullptr) << "an empty batch has somewhere to go";
    float* const memory = buffer.reserve<float>(10);
    EXPECT_EQ(backend.last_bytes, 40u);
    EXPECT_EQ(buffer.reserve<float>(3), memory);
    EXPECT_EQ(static_cast<void*>(buffer.reserve<double>(5)), memory);
    buffer.reserve<float>(11);
    EXPECT_EQ(backend.last_bytes, 44u);
    EXPECT_EQ(backend.held.size(), 1u);
  }
  EXPECT_TRUE(backend.held.empty());
}

TEST(GrowingBuffer, StaysUsableAfterAFailedRequest) {
  RecordingBackend backend;
  DeviceBuffer buffer(backend);
  buffer.reserve<float>(1);
  backend.full = true;
  EXPECT_THROW(buffer.reserve<float>(2), std::bad_alloc);
  backend.full = false;
  EXPECT_NE(buffer.reserve<float>(1), nullptr);
  EXPECT_EQ(backend.held.size(), 1u);
}

}  // namespace
}  // namespace moe::test
