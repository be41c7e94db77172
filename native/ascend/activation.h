// What an expert computes between its two products.
#pragma once
#include "ascend/acl_op.h"
#include "core/config.h"

namespace moe::ascend {

class ActivationStage {
 public:
  ActivationStage(Npu& device, OperatorQueue& queue)
      : device_(device), operators_(device.cann().operators), queue_(queue) {}

  // out [rows, width] of x [rows, width], or of x [rows, 2 * width] with the gate in front of what it gates.
  void run(Activation activation, const Array& x, const Array& out);

  // Bytes of scratch per row of that width.
  static int64_t scratch_per_row(Activation activation, int64_t width);

 private:
  void swiglu_oai(const Array& x, const Array& out);

  Npu& device_;
  const cann::Operators& operators_;
  OperatorQueue& queue_;
  DeviceScratch wide_{device_}, first_{device_}, second_{device_}, third_{device_};
};

}  // namespace moe::ascend
