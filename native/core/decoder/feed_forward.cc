#include "core/decoder/feed_forward.h"

#include "core/error.h"
#include "core/weights/check_weights.h"
#include "core/weights/packed_weights.h"

namespace moe {
namespace {

constexpr const char* kPrefix = "feed_forward.";

class Experts final : public FeedForward {
 public:
  Experts(Device& device, const LayerSpec& spec, const LayerWeights& weights, Progress progress,
          const std::stop_token& stop, std::optional<ParallelOptions> parallel)
      : device_(device), layer_(device, spec, weights, progress, stop, std::move(parallel)) {}

  void run(StepContext& step, Matrix in, Matrix out) override {
    const std::unique_ptr<Routing> routing = layer_.run(step.experts, in, out, step.stop);
    load_.resize(layer_.spec().moe.expert_num);
    device_.download(load_.data(), routing->arrays.expert_load, load_.size() * sizeof(uint32_t));
  }
  void list(Inventory& inventory) const override { inventory.add(layer_, kPrefix); }
  const std::vector<uint32_t>& last_load() const override { return load_; }

 private:
  Device& device_;
  Layer layer_;
  std::vector<uint32_t> load_;
};

class Dense final : public FeedForward {
 public:
  Dense(Device& device, LayerSpec spec, const LayerWeights& weights, Progress progress, const std::stop_token& stop)
      : stages_(device.moe()) {
    spec.moe.expert_num = spec.moe.zero_expert_num = 0;
    expect_capable(device.capabilities(), spec);
    check_weights(spec, weights);
    if (weights.packed) expect_layout(device, spec, weights.packed->layout);
    if (spec.shared_size == 0) throw Error(ErrorCode::kShape, "Expected a dense layer to have a width");
    shared_ = stages_.prepare_shared(spec, weights, progress, stop);
  }

  void run(StepContext& step, Matrix in, Matrix out) override {
    stages_.run_shared(*shared_, {in, nullptr}, out, step.stop);
  }
  void list(Inventory& inventory) const override { inventory.add(shared_.get(), kPrefix); }
  const std::vector<uint32_t>& last_load() const override { return none_; }

 private:
  MoeStages& stages_;
  std::unique_ptr<PreparedExperts> shared_;
  std::vector<uint32_t> none_;
};

}  // namespace

std::unique_ptr<FeedForward> make_feed_forward(Device& device, const DecoderLayerSpec& spec,
                                               const LayerWeights& weights, Progress progress,
                                               const std::stop_token& stop, std::optional<ParallelOptions> parallel) {
  if (spec.dense) return std::make_unique<Dense>(device, spec.feed_forward, weights, progress, stop);
  return std::make_unique<Experts>(device, spec.feed_forward, weights, progress, stop, std::move(parallel));
}

}  // namespace moe
