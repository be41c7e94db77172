// down(activation(up(x))) for rows that are sorted by expert.
#pragma once
#include "ascend/activation.h"
#include "ascend/layer.h"

namespace moe::ascend {

class ExpertStage {
 public:
  ExpertStage(Npu& device, OperatorQueue& queue)
      : device_(device), operators_(device.cann().operators), queue_(queue) {}

  // hidden [tokens, columns] as a product takes it: in the type it computes in, columns padded. Valid until the next
  // call.
  Array narrow(const ExpertTypes& types, const PaddedColumns& columns, Matrix hidden);

  // out [rows, H] float32 of x [rows, padded H]. counts: int64 on the device, rows of each expert; they add up to
  // `rows`, which is not 0.
  void run(const AscendExperts& experts, const Array& x, const Array& counts, float* out);
  // out [rows, out_features] float32 of x [rows, padded in_features], counts as above.
  void linear(const AscendLinear& linear, const Array& x, const Array& counts, float* out);

  // Brings columns to the width the chip takes, and back. x itself where that is its width.
  Array widen_columns(const PaddedColumns& columns, const Array& x);
  Array narrow_columns(const PaddedColumns& columns, const Array& x, void* out);

  // Bytes of scratch per row.
  static int64_t scratch_per_row(const AscendExperts& experts);
  static int64_t scratch_per_row(const AscendLinear& linear);

 private:
  struct Quantized {
    Array values, scales;
  };

  void multiply(const Projections& projections, const Array& x, const Array& counts, const Array& out, bool int8_rows);
  // To float32 rows without padding.
  void multiply_out(const Projections& projections, const ExpertTypes& types, const PaddedColumns& columns,
                    const Array& x, const Array& counts, float* out);
  Quantized quantize(const Array& x);

  Npu& device_;
  const cann::Operators& operators_;
  OperatorQueue& queue_;
  ActivationStage activation_{device_, queue_};
  DeviceScratch narrowed_{device_}, padded_{device_}, up_{device_}, activated_{device_}, down_{device_};
  DeviceScratch stripped_{device_}, quantized_{device_}, scales_{device_};
};

}  // namespace moe::ascend
