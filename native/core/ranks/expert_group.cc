#include "core/ranks/expert_group.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/ranks/gather_from_all.h"
#include "core/ranks/outgoing_rows.h"
#include "core/ranks/staged_collective.h"

namespace moe {
namespace {

struct Header {
  uint64_t magic;
  uint64_t call;
  Announcement announcement;
};

constexpr uint64_t kMagic = 0x6d6f652d72616e6b;

const char* name_of(Announcement::Kind kind) {
  switch (kind) {
    case Announcement::kCreate:
      return "creates";
    case Announcement::kForward:
      return "runs";
    case Announcement::kSum:
      return "sums the load of";
    case Announcement::kLeave:
      return "leaves with";
  }
  return "does something unknown with";
}

std::string describe(const Header& header) {
  return std::string(name_of(header.announcement.kind)) + " layer " + std::to_string(header.announcement.layer) +
         " of the group in call " + std::to_string(header.call);
}

}  // namespace

ExpertGroup::Membership::Membership(std::shared_ptr<ExpertGroup> joined, Device& device) : group_(std::move(joined)) {
  ExpertGroup& group = *group_;
  group.expect_usable();
  if (group.device_ && group.device_ != &device)
    throw Error(ErrorCode::kConfig, "Expected all layers of a group to be on one device");
  if (!group.device_) {
    group.on_device_ = device.connect(*group.collective_);
    if (!group.on_device_) group.on_device_ = std::make_unique<StagedCollective>(device, *group.collective_);
    group.device_ = &device;
  }
  number_ = group.layers_++;
  ++group.live_layers_;
}

ExpertGroup::Membership::~Membership() {
  if (--group_->live_layers_ > 0) return;
  group_->on_device_.reset();
  group_->device_ = nullptr;
}

size_t ExpertGroup::announced_bytes() const {
  return std::max<size_t>(256, static_cast<size_t>(shape_.sets()) * kMaxChunks * sizeof(RowCount));
}

std::span<const std::byte> ExpertGroup::Announced::operator[](int rank) const {
  const size_t bytes = group_.announced_bytes();
  return {group_.in_.data() + rank * (sizeof(Header) + bytes) + sizeof(Header), bytes};
}

ExpertGroup::Announced ExpertGroup::announce(const Announcement& mine, std::span<const std::byte> own) {
  expect_usable();
  write(mine, own);
  const size_t bytes = out_.size();
  if (!has_call_) exchange_announcements(false);
  has_call_ = false;
  if (!is_follower()) std::memcpy(in_.data() + shape_.rank * bytes, out_.data(), bytes);
  for (int rank = 0; rank < (shape_.led ? 1 : shape_.size); ++rank) compare(mine, in_.data() + rank * bytes, rank);
  return Announced(*this);
}

void ExpertGroup::write(const Announcement& mine, std::span<const std::byte> own) {
  const Header header{kMagic, calls_++, mine};
  out_.assign(sizeof(Header) + announced_bytes(), std::byte{0});
  std::memcpy(out_.data(), &header, sizeof(Header));
  if (!own.empty()) std::memcpy(out_.data() + sizeof(Header), own.data(), own.size());
}

// out_ to every rank, and in_ from every rank; in a led group from rank 0 to the others. Always by way of the host: a
// call is planned there, and a device's library may not wait idly.
void ExpertGroup::exchange_announcements(bool idle) {
  const size_t bytes = sizeof(Header) + announced_bytes();
  in_.assign(bytes * shape_.size, std::byte{0});
  sends_.clear();
  receives_.clear();
  for (int step = 1; step < shape_.size; ++step) {
    const int to = (shape_.rank + step) % shape_.size, from = (shape_.rank + shape_.size - step) % shape_.size;
    if (!is_follower()) sends_.push_back({to, 0, bytes});
    if (!shape_.led || from == 0) receives_.push_back({from, from * bytes, bytes});
  }
  const uint64_t exchange = collective_->start(out_.data(), sends_, in_.data(), receives_);
  if (idle)
    collective_->wait_idle(exchange);
  else
    collective_->wait(exchange);
}

int64_t ExpertGroup::next_call() {
  expect_usable();
  exchange_announcements(true);
  Header header;
  std::memcpy(&header, in_.data(), sizeof(header));
  if (header.magic == kMagic && header.announcement.kind == Announcement::kLeave) {
    leader_left_ = true;
    return -1;
  }
  if (header.magic != kMagic || header.announcement.kind != Announcement::kForward)
    throw Error(ErrorCode::kConfig,
                "Expected rank 0 to run a layer, after all its layers were made: it " + describe(header));
  has_call_ = true;
  return header.announcement.layer;
}

void ExpertGroup::compare(const Announcement& mine, const std::byte* message, int rank) const {
  Header theirs;
  std::memcpy(&theirs, message, sizeof(theirs));
  const Header own{kMagic, calls_ - 1, mine};
  if (theirs.magic != kMagic)
    throw Error(ErrorCode::kPeerLost, "Expected rank " + std::to_string(rank) + " to announce a call, got other bytes");
  if ((theirs.call != own.call && !shape_.led) || theirs.announcement.kind != mine.kind ||
      theirs.announcement.layer != mine.layer)
    throw Error(ErrorCode::kConfig, "Expected every rank to make the same calls in the same order: rank " +
                                        std::to_string(rank) + " " + describe(theirs) + ", rank " +
                                        std::to_string(shape_.rank) + " " + describe(own));
  if (!shape_.led && rank / shape_.model_parallel == shape_.set() &&
      (theirs.announcement.tokens != mine.tokens || theirs.announcement.routing != mine.routing))
    throw Error(ErrorCode::kConfig, "Expected the ranks of a model-parallel set to run the same tokens: rank " +
                                        std::to_string(rank) + " has " + std::to_string(theirs.announcement.tokens) +
                                        ", rank " + std::to_string(shape_.rank) + " has " +
                                        std::to_string(mine.tokens) +
                                        (theirs.announcement.tokens == mine.tokens ? " others" : ""));
}

void ExpertGroup::fail(const std::exception_ptr& cause) noexcept {
  if (failure_) return;
  failure_ = cause;
  collective_->abort();
  if (on_device_) on_device_->abort();
}

void ExpertGroup::expect_usable() const {
  if (!failure_) return;
  try {
    std::rethrow_exception(failure_);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kClosed) throw;
    const ErrorCode code = error.code() == ErrorCode::kTimeout ? ErrorCode::kTimeout : ErrorCode::kPeerLost;
    throw Error(code, std::string("The group is of no use any more, since an earlier call failed: ") + error.what());
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kPeerLost,
                std::string("The group is of no use any more, since an earlier call failed: ") + error.what());
  }
}

LinkCost ExpertGroup::measure() {
  expect_usable();
  try {
    return measure_link(*collective_);
  } catch (...) {
    fail(std::current_exception());
    throw;
  }
}

void ExpertGroup::expect_no_layers() const {
  if (live_layers_ > 0)
    throw Error(ErrorCode::kConfig, "Expected the group's layers to be closed before the group: " +
                                        std::to_string(live_layers_.load()) + " are open");
}

void ExpertGroup::leave() noexcept {
  const bool follows = is_follower() && !leader_left_;
  if (!failure_ && !follows) try {
      if (shape_.led && shape_.rank == 0) {
        write({.kind = Announcement::kLeave}, {});
        exchange_announcements(false);
      }
      gather_from_all(*collective_, std::byte{});
    } catch (...) {  // they are gone already
    }
  fail(std::make_exception_ptr(Error(ErrorCode::kClosed, "The group is closed")));
}

}  // namespace moe
