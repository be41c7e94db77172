// One device: everything the MoE layer asks of it, in the order a token meets it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "core/collective.h"
#include "core/config.h"
#include "core/function_ref.h"
#include "core/tensor.h"

namespace moe {

// What a routed batch adds up to. Plain data: a device may write it and the host copy it.
struct RoutingTotals {
  double aux_loss;
  double z_loss;
  int64_t dropped_choices;  // (token, choice) pairs cut by capacity
  int64_t capacity;         // slots per expert and group (of the first, where the last is shorter); -1 when dropless
};

// Where `route` writes, on the device. A choice that capacity dropped has expert -1 and weight 0. A token whose logits
// are not finite has expert -1 and weight NaN in every choice: its output becomes NaN, and it takes nobody's place.
struct Routing {
  int32_t* experts;       // [tokens, top_k], strongest choice first
  float* weights;         // [tokens, top_k]
  uint32_t* expert_load;  // [experts], tokens each expert serves
  RoutingTotals* totals;
};

// A slot is one (token, choice) pair, numbered token * fan_out + choice. A row is a kept slot's place once the kept
// slots are sorted by expert, tokens in order inside an expert. Slots with expert -1 have no row.
struct DispatchPlan {
  int32_t* slot_of_row;     // [slots], the first expert_offsets[experts] are filled
  int32_t* row_of_slot;     // [slots], -1 where the slot was dropped
  int32_t* expert_offsets;  // [experts + 1]; expert e owns rows [offsets[e], offsets[e + 1])
  int64_t slots;
  int32_t fan_out;  // slots per input row: top_k
};

// Weights on the device, packed for its kernels; immutable.
class PreparedLayer {
 public:
  virtual ~PreparedLayer() = default;
  virtual size_t weight_bytes() const = 0;  // what it occupies on the device
  // Sentences for the user about how the device runs this layer, where it is not as one would expect.
  virtual std::vector<std::string> notes() const { return {}; }
  // All of it, in host memory, to be written down and given to `prepare` again. Empty where a device cannot.
  virtual std::vector<PackedPart> packed_parts() const { return {}; }
};

// Counts experts as they are prepared: (done, total). Called from one thread at a time.
using Progress = FunctionRef<void(int64_t done, int64_t total)>;

// A device is driven by one thread. Callers own what they allocate (see DeviceBuffer).
class Device {
 public:
  virtual ~Device() = default;

  // Copies follow stream order: `upload` has read `host` when it returns; downloaded bytes are valid after
  // `synchronize`.
  virtual void* allocate(size_t bytes) = 0;
  virtual void deallocate(void* memory) noexcept = 0;
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;

  // How `prepare` lays a layer out: packed ones must say the same. Empty where a device takes none.
  virtual std::string packed_layout(const LayerSpec&) const { return {}; }

  // Whether LayerSpec::int8_activations may be set.
  virtual bool takes_int8_activations() const { return false; }

  // Packs the weights, or takes packed ones as they are. `host` is read until this returns and not after. A stop
  // request ends it with kAborted.
  virtual std::unique_ptr<PreparedLayer> prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                 const std::stop_token& stop) = 0;

  // Stages. Each enqueues its work and may return before it is done. `hidden` is [tokens, H].
  virtual void route(const PreparedLayer& layer, Matrix hidden, const Routing& out) = 0;
  virtual void plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) = 0;
  // Row r of `out` ([slots, H], the planned rows are written) is expert_of(r)(hidden[slot_of_row[r] / fan_out]).
  // A stop request ends it with kAborted at the next block of an expert.
  virtual void run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                           const std::stop_token& stop) = 0;
  // The always-on expert's output for every token, gate applied, into `out` [tokens, H].
  virtual void run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) = 0;
  // out[t] = sum over choices in slot order of weight * row, then + shared[t] where shared.data is not null.
  virtual void combine(const PreparedLayer& layer, Matrix rows, const Routing& routing, const DispatchPlan& plan,
                       Matrix shared, Matrix out) = 0;

  // Stages of a layer whose experts are spread over ranks. What a device does not override goes by way of the host.
  //
  // Row r of `out` is row index[r] of `in`; where that is -1, it is left as it was.
  virtual void gather(Matrix in, const int32_t* index, Matrix out);
  // Columns [first_column, first_column + part.cols) of `out` are those of `part`.
  virtual void place_columns(Matrix part, int64_t first_column, Matrix out);
  // The two halves of run_experts, for a layer that holds a part of every expert's columns. Rows are those of the plan:
  // `intermediate` is [rows, intermediate_part], then [rows, I]; `out` is [rows, hidden_part]. Throw kConfig by
  // default.
  virtual void run_up(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix intermediate,
                      const std::stop_token& stop);
  virtual void run_down(const PreparedLayer& layer, Matrix intermediate, const DispatchPlan& plan, Matrix out,
                        const std::stop_token& stop);

  // Whether `allocate` gives memory that the host can read and write as it is.
  virtual bool memory_is_host() const { return false; }
  // The device's own way between the ranks, for memory on the device; null where it has none. `host` moves host memory
  // between the same ranks, is borrowed, and may be used meanwhile.
  virtual std::unique_ptr<Collective> connect(Collective& host);

  // The only call that waits. Failures of earlier stages surface here at the latest.
  virtual void synchronize() = 0;
};

}  // namespace moe
