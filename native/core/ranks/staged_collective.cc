#include "core/ranks/staged_collective.h"

#include <algorithm>

namespace moe {

uint64_t StagedCollective::start(const void* send, std::span<const Transfer> sends, void* receive,
                                 std::span<const Transfer> receives) {
  if (device_.capabilities().host_memory) return host_.start(send, sends, receive, receives);
  auto staged = std::make_unique<Staged>();
  staged->receive = receive;
  staged->receives.assign(receives.begin(), receives.end());
  staged->sent.resize(end_of(sends));
  staged->received.resize(end_of(receives));
  for (const Transfer& transfer : sends)
    device_.download(staged->sent.data() + transfer.offset, static_cast<const std::byte*>(send) + transfer.offset,
                     transfer.bytes);
  device_.synchronize();
  staged->exchange = host_.start(staged->sent.data(), sends, staged->received.data(), receives);
  staged_.push_back(std::move(staged));
  return staged_.back()->exchange;
}

void StagedCollective::deliver(uint64_t exchange) {
  const auto place =
      std::ranges::find_if(staged_, [exchange](const auto& staged) { return staged->exchange == exchange; });
  if (place == staged_.end()) return;
  const Staged& staged = **place;
  for (const Transfer& transfer : staged.receives)
    device_.upload(static_cast<std::byte*>(staged.receive) + transfer.offset, staged.received.data() + transfer.offset,
                   transfer.bytes);
  staged_.erase(place);
}

}  // namespace moe
