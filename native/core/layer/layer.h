// The MoE layer: the path of a batch through the stages of a device.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/experts/routed_experts.h"
#include "core/host/profile.h"
#include "core/layer/input_squares.h"
#include "core/ranks/rank_experts.h"

namespace moe {

// A batch in host memory, [tokens, H].
struct HostBatch {
  const void* data;
  DType dtype;
  int64_t tokens;
  const int32_t* experts = nullptr;  // [tokens, K], the choices; null: the router makes them
};

// Where results go, in host memory. Null pointers are left out.
struct ForwardOutput {
  float* output = nullptr;          // [tokens, H]; null: route only
  int32_t* expert_ids = nullptr;    // [tokens, K]
  float* weights = nullptr;         // [tokens, K]
  uint32_t* expert_load = nullptr;  // [E]
  RoutingTotals* totals = nullptr;
};

class Layer {
 public:
  // Checks that the weights fit the spec (kShape names the one that does not), then packs them. With a group the
  // experts are those of the rank's set (packed weights have all of them), and every rank makes its layer and runs its
  // batches in step with the others. A profile takes the times of stages.
  Layer(Device& device, const LayerSpec& spec, const LayerWeights& weights, Progress progress,
        const std::stop_token& stop, std::optional<ParallelOptions> parallel = {},
        std::shared_ptr<Profile> profile = nullptr);

  // From device memory to device memory, both [tokens, H] float32: routes `hidden` and, unless `out` is without data,
  // runs the experts into it. Returns the routing, in memory of the workspace. Work may be under way when this returns.
  std::unique_ptr<Routing> run(Workspace& workspace, Matrix hidden, Matrix out, const std::stop_token& stop) const;

  // From host memory to host memory: upload, run, download; of each only what the device needs. Blocks until the
  // results are in place.
  void forward(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
               const std::stop_token& stop) const;

  // Routes the batch and adds what its experts read. For a layer without a group, on a device in host memory that has
  // ColumnStages; throws kDeviceUnavailable on another.
  void add_input_squares(Workspace& workspace, const HostBatch& batch, const InputSquares& sums,
                         const std::stop_token& stop) const;

  // Does what ExpertGroup::next_call does, for a layer on a led group; the other gives the layer's number in its group.
  int64_t next_call() const;
  uint32_t number_in_group() const { return routed_->number(); }
  // Sums over the ranks of the group, one of each set. Every rank calls it.
  void sum_over_group(std::span<double> values) const;

  const LayerSpec& spec() const { return spec_; }
  size_t weight_bytes() const;
  // Parts are valid for as long as the layer lives; there are none where its device cannot give any.
  PackedWeights packed() const;
  std::shared_ptr<const Profile> profile() const { return profile_; }  // null without one
  std::vector<std::string> notes() const { return router_->notes(); }

 private:
  void prepare(const LayerWeights& weights, Progress progress, const std::stop_token& stop,
               std::optional<ParallelOptions> parallel);
  LinearSpec latent_spec(const char* name, int64_t in_features, int64_t out_features) const;
  std::vector<const Prepared*> all_prepared() const;
  void forward_batch(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
                     const std::stop_token& stop) const;
  RoutingArrays arrays_in(Workspace& workspace, int64_t tokens) const;
  std::unique_ptr<Routing> run(Workspace& workspace, const Tokens& tokens, const RoutingArrays& arrays, Matrix out,
                               const std::stop_token& stop) const;
  // The routed experts between the projections of a latent size, and the shared one beside them.
  void run_latent(Workspace& workspace, const Tokens& tokens, const Routing& routing, FunctionRef<Matrix()> run_shared,
                  Matrix out, const std::stop_token& stop) const;
  // Calls body(), and tells the peers if it throws.
  template <class Body>
  auto telling_peers(const Body& body) const;

  Device& device_;
  std::shared_ptr<Profile> profile_;
  StageClock clock_;
  LayerSpec spec_;
  std::unique_ptr<PreparedRouter> router_;
  std::unique_ptr<PreparedExperts> shared_;                  // null without an always-on expert
  std::unique_ptr<PreparedLinear> latent_down_, latent_up_;  // null without a latent size
  std::unique_ptr<RoutedExperts> routed_;
};

}  // namespace moe
