// A float32 matrix that tokens are multiplied by to be routed, and what is added to the product.
#pragma once
#include <cstdint>
#include <vector>

#include "ascend/transfer.h"
#include "core/host/executor.h"
#include "core/tensor.h"

namespace moe::ascend {

struct RouterWeights {
  // Reads the weights to the host; `place` copies them to the device, through memory that must stay until it has
  // waited.
  RouterWeights(Npu& device, const WeightMatrix& weights, const WeightVector& bias);
  size_t bytes() const { return (host.size() + host_bias.size()) * sizeof(float); }
  void place(PinnedPool& pool);

  // logits [tokens, columns] of hidden [tokens, H], on the host, in the order of inputs.
  void multiply(const float* hidden, int64_t tokens, Executor& executor, float* logits) const;

  int64_t depth, columns;
  std::vector<float> host;       // [H, columns]
  std::vector<float> host_bias;  // [columns], or empty
  DeviceScratch matrix, bias;    // the same on the device
};

}  // namespace moe::ascend
