// Where the time of a layer's calls goes.
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/device.h"

namespace moe {

enum class Stage : uint8_t { kUpload, kRoute, kPlan, kRun, kUp, kDown, kShared, kCombine, kExchange, kDownload };
constexpr std::array kStageNames{"upload", "route",  "plan",    "run",      "up",
                                 "down",   "shared", "combine", "exchange", "download"};

// The thread of the layer's device writes it, any thread reads it.
class Profile {
 public:
  struct Sum {
    std::atomic<int64_t> count{0}, nanoseconds{0};
  };
  const std::array<Sum, kStageNames.size()>& sums() const { return sums_; }

  // For as long as it lives, time goes to its stage and not to the one around it.
  class Inside {
   public:
    Inside(Profile& profile, Stage stage)
        : profile_(profile), outer_(profile.turn_to(&profile.sums_[static_cast<size_t>(stage)])) {
      ++profile.now_->count;
    }
    ~Inside() { profile_.turn_to(outer_); }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    Profile& profile_;
    Sum* outer_;
  };

 private:
  using Clock = std::chrono::steady_clock;

  Sum* turn_to(Sum* next) {
    const Clock::time_point now = Clock::now();
    if (now_) now_->nanoseconds += std::chrono::nanoseconds(now - since_).count();
    since_ = now;
    return std::exchange(now_, next);
  }

  std::array<Sum, kStageNames.size()> sums_;
  Sum* now_ = nullptr;  // what time goes to
  Clock::time_point since_;
};

// Runs the stages of a layer, and takes their time where there is a profile. A device may work on after its calls
// return, so that it is waited for then.
class StageClock {
 public:
  // Both are borrowed.
  StageClock(Device& device, Profile* profile) : device_(device), profile_(profile) {}

  template <class Body>
  auto time(Stage stage, const Body& body) const {
    if (!profile_) return body();
    device_.synchronize();  // what was begun belongs to the stage around this one
    const Profile::Inside inside(*profile_, stage);
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      device_.synchronize();
    } else {
      auto result = body();
      device_.synchronize();
      return result;
    }
  }

 private:
  Device& device_;
  Profile* profile_;
};

}  // namespace moe
