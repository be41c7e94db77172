#include "ascend/router_weights.h"

#include <algorithm>

#include "core/weights/read_weights.h"

namespace moe::ascend {
namespace {

constexpr int64_t kFlopsPerPiece = 1 << 18;  // worth a thread

}  // namespace

RouterWeights::RouterWeights(Npu& device, const WeightMatrix& weights, const WeightVector& added)
    : depth(weights.in_features),
      columns(weights.out_features),
      host(read_transposed(weights)),
      host_bias(read_vector(added)),
      matrix(device),
      bias(device) {}

void RouterWeights::place(PinnedPool& pool) {
  pool.send<float>(host, matrix);
  pool.send<float>(host_bias, bias);
}

void RouterWeights::multiply(const float* hidden, int64_t tokens, Executor& executor, float* logits) const {
  const int64_t grain = std::max<int64_t>(1, kFlopsPerPiece / std::max<int64_t>(1, depth * columns));
  executor.parallel_for(tokens, grain, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      float* const out = logits + token * columns;
      if (host_bias.empty())
        std::fill_n(out, columns, 0.0f);
      else
        std::copy_n(host_bias.data(), columns, out);
      for (int64_t i = 0; i < depth; ++i) {
        const float x = hidden[token * depth + i];
        const float* const weights = host.data() + i * columns;
        for (int64_t column = 0; column < columns; ++column) out[column] += x * weights[column];
      }
    }
  });
}

}  // namespace moe::ascend
