// A whole model on a device: token ids in, sampled tokens out.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "core/decoder/attention_layer.h"
#include "core/decoder/feed_forward.h"
#include "core/decoder/output_head.h"
#include "core/decoder/sequences.h"
#include "core/decoder/spec.h"
#include "core/decoder/step_context.h"

namespace moe {

// Each of these sequences feeds its next so many known tokens. Where it then has no known token left and room for one,
// the next is sampled, and known from then on.
struct Step {
  std::vector<int32_t> sequences, counts;
};

// Layers are added in order, then `finish` ends loading. Layers and steps belong to the device's thread; sequences may
// be used on another meanwhile.
class Decoder {
 public:
  // Throws kDeviceUnavailable where the device has no stages of decoders.
  Decoder(Device& device, DecoderSpec spec);

  // Weights are read until this returns. A layer that fails was not added.
  void add_layer(const DecoderLayerSpec& spec, const DecoderLayerWeights& weights, Progress progress,
                 const std::stop_token& stop, std::optional<ParallelOptions> parallel = {});
  void finish(const OuterWeights& weights);

  // Throws kShape before `finish`.
  Sequences& sequences() const;
  // When it throws, every sequence is as it was.
  void step(Workspace& experts, const Step& step, const StepOutput& out, const std::stop_token& stop);

  const DecoderSpec& spec() const { return spec_; }
  size_t weight_bytes() const;
  size_t cache_bytes() const;
  // A layer as it is held, or what stands behind the layers: parts are valid for as long as the decoder lives; there
  // are none where its device cannot give any.
  PackedWeights packed_layer(int64_t layer) const;
  PackedWeights packed_head() const;
  // Tokens that each expert of a layer has served; none for a dense layer. Any thread may ask.
  std::vector<double> expert_load(int64_t layer) const;

 private:
  struct LayerParts {
    DeviceFloats attention_norm, feed_forward_norm;
    std::unique_ptr<AttentionLayer> attention;
    std::unique_ptr<FeedForward> feed_forward;
  };

  void embed(std::span<const StepPart> parts, Matrix hidden);
  std::vector<std::vector<Segment>> segments_of(std::span<const StepPart> parts) const;
  // Writes what enters the feed-forward part, [T, H], where that is not null.
  void run_layer(LayerParts& layer, StepContext& step, Matrix hidden, float* block_input);
  void count_load();
  void list(const LayerParts& layer, Inventory& inventory) const;
  PackedWeights packed(const ProjectionSpec& held, Inventory inventory) const;
  const LayerParts& layer_at(int64_t layer) const;

  Device& device_;
  DecoderSpec spec_;
  DecoderWorkspace workspace_;
  Rotations rotations_;
  std::vector<int64_t> windows_;  // of each group of block tables
  std::vector<std::unique_ptr<LayerParts>> layers_;
  WeightMatrix embedding_;
  std::unique_ptr<OutputHead> head_;
  std::unique_ptr<Sequences> sequences_;
  std::vector<float> embedded_;
  std::vector<int64_t> positions_;
  mutable std::mutex load_mutex_;
  std::vector<std::vector<double>> load_;  // of each layer
};

}  // namespace moe
