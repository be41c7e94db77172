// The weights of all experts for one product, as GroupedMatmul takes them.
#pragma once
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "ascend/array.h"
#include "ascend/npu.h"
#include "core/capabilities.h"
#include "core/config.h"
#include "core/host/executor.h"
#include "core/moe_stages.h"

namespace moe::ascend {

// How a layer's experts are held and computed on a chip.
struct ExpertTypes {
  WeightType type;
  cann::DataType weight;
  cann::DataType compute;  // of activations
  cann::DataType bias;
  bool int8_rows;  // rows are rounded to int8 for a product with int8 weights
  bool blocked;    // FRACTAL_NZ
  int64_t column_multiple;

  // The weights are of a type that `held_weights` has.
  static ExpertTypes of(WeightType held, bool int8_rows, const SocProfile& profile);
};

// The weight formats that Ascend holds.
std::vector<HeldWeights> held_weights(const SocProfile& profile);

// A matrix [in, out] per expert. `out` may be two matrices side by side: gate, then up. Sizes are padded by zeros to
// the chip's multiple.
class Projections {
 public:
  // The two halves are out features of their own; left out where there is no gate.
  struct Expert {
    const WeightMatrix *gate, *up;
    const WeightVector *gate_bias, *up_bias;
  };

  Projections(Npu& device, const ExpertTypes& types, int64_t experts, int64_t in, int64_t out, bool gated, bool biased);

  // Bytes of one expert's matrix and of the vectors beside it, in the order in which `pack` writes them.
  size_t matrix_bytes() const { return static_cast<size_t>(in_ * columns_ * size_of(types_.weight)); }
  size_t vector_bytes() const;
  // Writes one expert to host memory of that many bytes.
  void pack(const Expert& expert, Executor& executor, std::byte* matrix, std::byte* vectors) const;
  // Sends what `pack` wrote to where expert `index` stands. The memory must stay as it is until the device has waited.
  void place(int64_t index, const std::byte* matrix, const std::byte* vectors);

  int64_t experts() const { return experts_; }
  int64_t in() const { return in_; }            // padded
  int64_t columns() const { return columns_; }  // padded
  size_t bytes() const;

  Array weight() const;
  std::optional<Array> bias() const;
  std::optional<Array> scale() const;   // per out feature, of int8 weights
  std::optional<Array> offset() const;  // zeros beside them

 private:
  void pack_matrix(const WeightMatrix& from, int64_t first, Executor& executor, std::byte* matrix,
                   std::byte* scales) const;
  void pack_bias(const WeightVector& from, int64_t first, std::byte* biases) const;
  int64_t index_of(int64_t in, int64_t column) const;

  Npu& device_;
  ExpertTypes types_;
  int64_t experts_, in_, half_, columns_;
  bool biased_, scaled_;
  DeviceScratch matrices_{device_}, biases_{device_}, scales_{device_}, offsets_{device_};
};

}  // namespace moe::ascend
