#include "cuda/transfer.h"

#include <algorithm>

#include "cuda/check.h"

namespace moe::cuda {

Staging::~Staging() {
  for (Slot& slot : slots_) {
    if (slot.busy) cudaEventSynchronize(slot.copied);
    if (slot.copied) cudaEventDestroy(slot.copied);
    if (slot.memory) cudaFreeHost(slot.memory);
  }
}

void Staging::upload(void* device, const void* host, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    Slot& slot = next_slot();
    const size_t part = std::min(bytes - done, kSlotBytes);
    threads_.copy(slot.memory, static_cast<const uint8_t*>(host) + done, part);
    check(cudaMemcpyAsync(static_cast<uint8_t*>(device) + done, slot.memory, part, cudaMemcpyHostToDevice, stream_),
          "cudaMemcpyAsync");
    record(slot);
    done += part;
  }
}

void Staging::finish() {
  Slot* slot = nullptr;
  size_t used = 0;
  for (const Download& download : wanted_)
    for (size_t done = 0; done < download.bytes;) {
      if (slot && used == kSlotBytes) {
        record(*slot);
        slot = nullptr;
      }
      if (!slot) {
        slot = &next_slot();
        used = 0;
      }
      const size_t part = std::min(download.bytes - done, kSlotBytes - used);
      check(cudaMemcpyAsync(slot->memory + used, static_cast<const uint8_t*>(download.device) + done, part,
                            cudaMemcpyDeviceToHost, stream_),
            "cudaMemcpyAsync");
      slot->pieces.push_back({static_cast<uint8_t*>(download.host) + done, used, part});
      done += part;
      used += part;
    }
  if (slot) record(*slot);
  for (size_t i = 0; i < kSlots; ++i) settle(slots_[(next_ + i) % kSlots]);
  wanted_.clear();
}

void Staging::clear() {
  wanted_.clear();
  for (Slot& slot : slots_) slot.pieces.clear();
}

// Empties the slot used longest ago, and gives it.
Staging::Slot& Staging::next_slot() {
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % kSlots;
  settle(slot);
  if (!slot.memory) {
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, kSlotBytes, cudaHostAllocDefault), "cudaHostAlloc");
    slot.memory = static_cast<uint8_t*>(memory);
  }
  if (!slot.copied) check(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return slot;
}

void Staging::record(Slot& slot) {
  check(cudaEventRecord(slot.copied, stream_), "cudaEventRecord");
  slot.busy = true;
}

void Staging::settle(Slot& slot) {
  if (!slot.busy) return;
  slot.busy = false;
  check(cudaEventSynchronize(slot.copied), "cudaEventSynchronize");
  for (const Piece& piece : slot.pieces) threads_.copy(piece.host, slot.memory + piece.offset, piece.bytes);
  slot.pieces.clear();
}

}  // namespace moe::cuda
