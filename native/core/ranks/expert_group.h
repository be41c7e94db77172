// The ranks that share a layer's experts, and what they tell each other before rows travel.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/collective.h"
#include "core/device.h"
#include "core/ranks/group_shape.h"
#include "core/ranks/link_cost.h"

namespace moe {

// More would send messages too small to be worth their start. MindFormers' comp_comm_parallel_degree counts up to here.
constexpr int32_t kMaxChunks = 16;

// What a rank is about to do. Every rank says so to every other, in messages of one size, before each call: ranks that
// do different things would wait for bytes that never come.
struct Announcement {
  enum Kind : uint32_t { kCreate = 1, kForward = 2, kSum = 3, kLeave = 4 };

  Kind kind = kForward;
  uint32_t layer = 0;    // which of the group's layers
  int64_t tokens = 0;    // of the rank's batch
  uint64_t routing = 0;  // a digest of the choices: equal within a set
};

// One thread, that of its device, uses it. After a failure every call throws.
class ExpertGroup {
 public:
  ExpertGroup(std::unique_ptr<Collective> collective, GroupShape shape)
      : collective_(std::move(collective)), shape_(shape) {}

  const GroupShape& shape() const { return shape_; }

  // A layer's part in the group, as long as the layer lives. The first layer's device is that of the group as long as
  // layers are on it.
  class Membership {
   public:
    // Throws kConfig where the group is on another device.
    Membership(std::shared_ptr<ExpertGroup> group, Device& device);
    ~Membership();
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;

    ExpertGroup& group() const { return *group_; }
    uint32_t number() const { return number_; }  // among all layers the group has had
    // How bytes on the device travel: through the device's own library where it has one, else by way of the host.
    Collective& collective() const { return *group_->on_device_; }

   private:
    std::shared_ptr<ExpertGroup> group_;
    uint32_t number_;
  };

  // Tells every rank `mine` and up to announced_bytes() of anything, in one message each, and returns what every rank
  // told: in a led group what rank 0 told, and zeros. Throws kConfig where ranks do not announce the same call.
  class Announced {
   public:
    std::span<const std::byte> operator[](int rank) const;  // announced_bytes(), valid until the next call

   private:
    friend class ExpertGroup;
    explicit Announced(const ExpertGroup& group) : group_(group) {}
    const ExpertGroup& group_;
  };
  Announced announce(const Announcement& mine, std::span<const std::byte> own);
  size_t announced_bytes() const;
  bool is_follower() const { return shape_.led && shape_.rank > 0; }

  // A follower's: waits for rank 0's next call and returns the number of its layer, which is to make it next with no
  // tokens; -1 when rank 0 leaves. Throws kConfig for a call that cannot be followed.
  int64_t next_call();

  // Makes the group unusable and lets the peers know. The first failure counts.
  void fail(const std::exception_ptr& cause) noexcept;
  void expect_usable() const;

  // What exchanges between the ranks cost. Every rank calls it, with no layers on the group.
  LinkCost measure();

  // Throws kConfig while layers are on the group. Any thread may call it.
  void expect_no_layers() const;
  // Waits until every rank leaves, or is gone: who left first might cut off the others' last bytes.
  void leave() noexcept;

 private:
  void write(const Announcement& mine, std::span<const std::byte> own);
  void exchange_announcements(bool idle);
  void compare(const Announcement& mine, const std::byte* message, int rank) const;

  std::unique_ptr<Collective> collective_;
  GroupShape shape_;
  uint32_t layers_ = 0;  // so far
  std::atomic<int> live_layers_{0};
  uint64_t calls_ = 0;
  Device* device_ = nullptr;
  std::unique_ptr<Collective> on_device_;
  std::vector<std::byte> out_, in_;
  std::vector<Transfer> sends_, receives_;
  bool leader_left_ = false;
  bool has_call_ = false;  // in_ holds a call of rank 0's that is still to be made here
  std::exception_ptr failure_;
};

}  // namespace moe
