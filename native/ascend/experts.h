// down(activation(up(x))) for rows that are sorted by expert.
#pragma once
#include "ascend/activation.h"
#include "ascend/layer.h"

namespace moe::ascend {

class ExpertStage {
 public:
  ExpertStage(Npu& device, OperatorQueue& queue);

  // hidden [tokens, H] as the layer's experts take it: in their type, H padded. Valid until the next call.
  Array narrow(const AscendExperts& experts, Matrix hidden);

  // out [rows, H] float32 of x [rows, padded H]. counts: int64 on the device, rows of each expert; they add up to
  // `rows`, which is not 0.
  void run(const AscendExperts& experts, const Array& x, const Array& counts, float* out);

  // Brings columns of [rows, H] to the width the chip takes, and back. x itself where that is its width.
  Array widen_columns(const AscendExperts& experts, const Array& x);
  Array narrow_columns(const AscendExperts& experts, const Array& x, void* out);

  // Bytes of scratch per row.
  static int64_t scratch_per_row(const AscendExperts& experts);

 private:
  struct Quantized {
    Array values, scales;
  };

  void multiply(const Projections& projections, const Array& x, const Array& counts, const Array& out, bool int8_rows);
  Quantized quantize(const Array& x);

  const cann::Operators& operators_;
  OperatorQueue& queue_;
  ActivationStage activation_;
  DeviceScratch narrowed_, padded_, up_, activated_, down_, stripped_, quantized_, scales_;
};

}  // namespace moe::ascend
