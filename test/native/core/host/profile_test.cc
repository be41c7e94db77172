#include "core/host/profile.h"

#include <gtest/gtest.h>

#include <thread>

#include "fakes/host_device.h"

namespace moe::test {
namespace {

using std::chrono::milliseconds;

// Does its work when it is waited for.
class LateDevice : public HostDevice {
 public:
  void begin(milliseconds work) { pending_ += work; }
  void synchronize() override {
    ++waits;
    std::this_thread::sleep_for(std::exchange(pending_, {}));
  }

  int waits = 0;

 private:
  milliseconds pending_{};
};

const Profile::Sum& sum(const Profile& profile, Stage stage) { return profile.sums()[static_cast<size_t>(stage)]; }

TEST(StageClock, WaitsForWhatAStageHasBegun) {
  LateDevice device;
  Profile profile;
  const StageClock clock(device, &profile);
  EXPECT_EQ(clock.time(Stage::kRun, [&] { return device.begin(milliseconds(20)), 7; }), 7);
  clock.time(Stage::kCombine, [] {});
  EXPECT_GE(sum(profile, Stage::kRun).nanoseconds, 20'000'000);
  EXPECT_EQ(sum(profile, Stage::kRun).count, 1);
  EXPECT_EQ(sum(profile, Stage::kCombine).count, 1);
  EXPECT_EQ(sum(profile, Stage::kRoute).count, 0);
}

TEST(StageClock, GivesEachTimeToOneStage) {
  LateDevice device;
  Profile profile;
  const StageClock clock(device, &profile);
  clock.time(Stage::kExchange, [&] {
    device.begin(milliseconds(20));  // of the exchange, though nobody waits for it before the shared expert
    clock.time(Stage::kShared, [&] { device.begin(milliseconds(300)); });
    device.begin(milliseconds(20));
  });
  EXPECT_GE(sum(profile, Stage::kShared).nanoseconds, 300'000'000);
  EXPECT_GE(sum(profile, Stage::kExchange).nanoseconds, 40'000'000);
  EXPECT_LT(sum(profile, Stage::kExchange).nanoseconds, 300'000'000);
}

TEST(StageClock, EndsAStageThatFails) {
  LateDevice device;
  Profile profile;
  const StageClock clock(device, &profile);
  EXPECT_THROW(clock.time(Stage::kRoute, [] { throw 1; }), int);
  const int64_t before = sum(profile, Stage::kRoute).nanoseconds;
  clock.time(Stage::kPlan, [&] { device.begin(milliseconds(1)); });
  EXPECT_EQ(sum(profile, Stage::kRoute).nanoseconds, before);
}

TEST(StageClock, WaitsForNothingWithoutAProfile) {
  LateDevice device;
  StageClock(device, nullptr).time(Stage::kRun, [] {});
  EXPECT_EQ(device.waits, 0);
}

}  // namespace
}  // namespace moe::test
