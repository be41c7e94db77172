// Between the two products of an expert.
#pragma once
#include "ascend/acl_op.h"
#include "core/config.h"

namespace moe::ascend {

class ActivationStage {
 public:
  ActivationStage(Npu& device, OperatorQueue& queue)
      : operators_(device.cann().operators),
        queue_(queue),
        wide_(device),
        first_(device),
        second_(device),
        third_(device) {}

  // out [rows, width] of x [rows, width], or of x [rows, 2 * width] with the gate in front of what it gates.
  void run(const Activation& activation, const Array& x, const Array& out);

  // Bytes of scratch per row of that width.
  static int64_t scratch_per_row(const Activation& activation, int64_t width);

 private:
  void clamped_swiglu(const SwiGLUNumbers& by, const Array& x, const Array& out);
  // out = gelu of the first half of x * the second half.
  void geglu(int64_t approximation, const Array& x, const Array& out);

  const cann::Operators& operators_;
  OperatorQueue& queue_;
  DeviceScratch wide_, first_, second_, third_;
};

}  // namespace moe::ascend
