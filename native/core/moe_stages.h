// What a device does for a Mixture-of-Experts layer, in the order a token meets it. T tokens, H hidden, I intermediate,
// E experts, K choices.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

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

// Where a routing is written. An expert from E on is the identity. A choice that capacity dropped has expert -1 and
// weight 0. A token whose logits are not finite has expert -1 and weight NaN in every choice: its output becomes NaN,
// and it takes nobody's place.
struct RoutingArrays {
  int32_t* experts;       // [T, K], strongest choice first
  float* weights;         // [T, K]
  uint32_t* expert_load;  // [E], tokens each expert serves
  RoutingTotals* totals;
};

// Tokens to be routed.
struct Tokens {
  Matrix hidden;         // [T, H] float32
  const float* on_host;  // the same values in host memory, until the call has ended; null where they are not there
  bool chosen = false;   // their choices are given: RoutingArrays::experts has them, and `route` weighs them

  // Tokens [first, first + count).
  Tokens part(int64_t first, int64_t count) const {
    return {hidden.part(first, count), on_host ? on_host + first * hidden.cols : nullptr};
  }
};

// A routing on the device. A device may know more of it than its arrays, so `plan` takes it as it is.
class Routing {
 public:
  Routing(const RoutingArrays& on_device, int64_t tokens, const MoEConfig& config)
      : Routing(on_device, tokens, config.num_experts_chosen, config.expert_num) {}
  Routing(const RoutingArrays& on_device, int64_t tokens, int32_t top_k, int32_t num_experts)
      : arrays(on_device), tokens(tokens), top_k(top_k), num_experts(num_experts) {}
  virtual ~Routing() = default;
  // Writes what `route` left to the stages that follow, where they did not come.
  virtual void complete() {}

  const RoutingArrays arrays;
  const int64_t tokens;
  const int32_t top_k, num_experts;  // num_experts without identities
};

// Which rows are whose. A slot is one (token, choice) pair, numbered token * fan_out + choice. A row is a kept slot's
// place once the kept slots are sorted by expert, tokens in order inside an expert. Slots with expert -1, or with an
// identity, have no row.
// Only the device that made a plan knows what is in it. It must go before the device, and the routing it was made of.
class Plan {
 public:
  virtual ~Plan() = default;
};

// Weights on the device, packed for its kernels; immutable.
class Prepared {
 public:
  virtual ~Prepared() = default;
  virtual size_t weight_bytes() const = 0;  // what they occupy on the device
  // All of them, in host memory, to be written down and prepared again. Empty where a device cannot, or has a part.
  virtual std::vector<PackedPart> packed_parts() const { return {}; }
};

class PreparedRouter : public Prepared {
 public:
  // Sentences for the user about how the device routes, where it is not as one would expect.
  virtual std::vector<std::string> notes() const { return {}; }
};

class PreparedExperts : public Prepared {};

// A dense projection, held in a type as experts are.
struct LinearSpec {
  std::string name;  // of its packed part
  int64_t in_features, out_features;
  WeightType weight_type = WeightType::kFloat32;
  int32_t weight_group = 0;
  bool int8_activations = false;
  int32_t threads = 0;
};

class PreparedLinear : public Prepared {};

// Counts experts as they are prepared: (done, total). Called from one thread at a time.
using Progress = FunctionRef<void(int64_t done, int64_t total)>;

// The two halves of MoeStages::run, for experts of which a part of the columns is here (LayerSpec::intermediate_part).
// Rows are those of the plan: `intermediate` is [rows, intermediate_part], then [rows, I]; `out` is [rows,
// hidden_part].
class ColumnStages {
 public:
  virtual ~ColumnStages() = default;
  virtual void run_up(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix intermediate,
                      const std::stop_token& stop) = 0;
  virtual void run_down(const PreparedExperts& experts, Matrix intermediate, const Plan& plan, Matrix out,
                        const std::stop_token& stop) = 0;
};

// A projection, and where its output goes.
struct LinearTo {
  const PreparedLinear& linear;
  Matrix out;
};

// Stages enqueue their work and may return before it is done. A stop request ends a stage with kAborted.
class MoeStages {
 public:
  virtual ~MoeStages() = default;

  // How `prepare_*` lay a layer out: packed weights must say the same. Empty where a device takes none.
  virtual std::string packed_layout(const LayerSpec&) const { return {}; }

  // Pack weights, or take packed ones as they are. `host` is read until this returns and not after. Experts are those
  // of host.experts, which may be some of the layer's, or the always-on one.
  virtual std::unique_ptr<PreparedRouter> prepare_router(const LayerSpec& spec, const LayerWeights& host) = 0;
  virtual std::unique_ptr<PreparedExperts> prepare_experts(const LayerSpec& spec, const LayerWeights& host,
                                                           Progress progress, const std::stop_token& stop) = 0;
  virtual std::unique_ptr<PreparedExperts> prepare_shared(const LayerSpec& spec, const LayerWeights& host,
                                                          Progress progress, const std::stop_token& stop) = 0;

  virtual std::unique_ptr<Routing> route(const PreparedRouter& router, const Tokens& tokens,
                                         const RoutingArrays& out) = 0;

  // matrix: [out_features, in_features], not read where `packed` has it already.
  virtual std::unique_ptr<PreparedLinear> prepare_linear(const LinearSpec& spec, const WeightMatrix& matrix,
                                                         const std::optional<PackedWeights>& packed) = 0;
  // out[r] = matrix * in[r], then + added[r] where added.data is not null. in [rows, in_features]; added and out
  // [rows, out_features], and they do not overlap.
  virtual void linear(const PreparedLinear& linear, Matrix in, Matrix added, Matrix out,
                      const std::stop_token& stop) = 0;

  // The same of several projections, which have one input.
  virtual void linears(std::span<const LinearTo> linears, Matrix in, const std::stop_token& stop) {
    for (const LinearTo& each : linears) linear(each.linear, in, {}, each.out, stop);
  }

  // Of choices that were routed here, and of choices [slots] in host memory, below num_experts, -1 where there is none.
  virtual std::unique_ptr<Plan> plan(const Routing& routing) = 0;
  virtual std::unique_ptr<Plan> plan(std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) = 0;

  // Where weights multiply what experts read: rows[slot] = weight * hidden of its token for every slot that has a row
  // in a plan, and ones[slot] = 1, or NaN where the weight is. Returns a routing of the rows, each of one choice.
  virtual std::unique_ptr<Routing> weigh(const PreparedExperts& experts, const Routing& routing, Matrix hidden,
                                         Matrix rows, float* ones) = 0;

  // Row r of `out` ([slots, cols of hidden], the planned rows are written) is its expert's output for its token in
  // `hidden`.
  virtual void run(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix out,
                   const std::stop_token& stop) = 0;
  // The always-on expert's output for every token, gate applied, into `out` [T, H].
  virtual void run_shared(const PreparedExperts& shared, const Tokens& tokens, Matrix out,
                          const std::stop_token& stop) = 0;
  // always[t] = shared_scale * always[t] + the weights of its choices of identities, summed in slot order, * hidden[t].
  // With shared_scale 0, `always` is written and not read.
  virtual void add_identities(const PreparedExperts& experts, const Routing& routing, Matrix hidden, float shared_scale,
                              Matrix always) = 0;
  // out[t] = sum over choices in slot order of weight * row, then + shared[t] where shared.data is not null.
  virtual void combine(const PreparedExperts& experts, Matrix rows, const Routing& routing, const Plan& plan,
                       Matrix shared, Matrix out) = 0;

  // Null where a device holds whole experts only.
  virtual ColumnStages* columns() { return nullptr; }
};

}  // namespace moe
