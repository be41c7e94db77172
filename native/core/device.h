// One device: memory and what moves it. Nothing here knows of a layer.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/capabilities.h"
#include "core/collective.h"
#include "core/tensor.h"

namespace moe {

class DecoderStages;
class MoeStages;

// A device is driven by one thread. Callers own what they allocate (see DeviceBuffer). Work follows the order of calls
// and may be done later than they return.
class Device {
 public:
  virtual ~Device() = default;

  virtual const Capabilities& capabilities() const = 0;
  // The stages of a Mixture-of-Experts layer, as long as the device lives.
  virtual MoeStages& moe() = 0;
  // The stages of whole models, likewise; null where a device has none.
  virtual DecoderStages* decoder() { return nullptr; }

  virtual void* allocate(size_t bytes) = 0;
  virtual void deallocate(void* memory) noexcept = 0;
  // `host` has been read when this returns.
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  // The bytes are there after `synchronize`.
  virtual void download(void* host, const void* device, size_t bytes) = 0;

  // Row r of `out` becomes row index[r] of `in`; where that is -1, it is left as it was. `index` is on the host and has
  // been read when this returns. Rows of `in` and `out` do not overlap.
  virtual void gather(Matrix in, std::span<const int32_t> index, Matrix out) = 0;
  // Columns [first_column, first_column + part.cols) of `out` become those of `part`.
  virtual void place_columns(Matrix part, int64_t first_column, Matrix out) = 0;

  // The device's own way between the ranks, for memory on the device; null where it has none. What it is given moves
  // host memory between the same ranks, is borrowed, and may be used meanwhile.
  virtual std::unique_ptr<Collective> connect(Collective&) { return nullptr; }

  // The only call that waits. Failures of earlier work surface here at the latest.
  virtual void synchronize() = 0;
};

}  // namespace moe
