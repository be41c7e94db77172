// Attention of one layer: from normed tokens to what they add.
#pragma once
#include <memory>
#include <string>

#include "core/decoder/device_floats.h"
#include "core/decoder/inventory.h"
#include "core/decoder/layer_memory.h"
#include "core/decoder/spec.h"
#include "core/decoder/step_context.h"

namespace moe {

class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;

  // in, out [T, H]
  virtual void run(StepContext& step, Matrix in, Matrix out) = 0;
  virtual void list(Inventory& inventory) const = 0;
  virtual size_t memory_bytes() const = 0;
};

// What makes a layer's parts.
struct AttentionMaker {
  Device& device;
  const DecoderSpec& decoder;
  const AttentionLayerSpec& spec;
  const AttentionWeights& weights;
  const std::optional<PackedWeights>& packed;  // instead of them
  size_t group;                                // of block tables

  DecoderStages& stages() const { return *device.decoder(); }
  // Throws kShape, naming the matrix, where it has another shape. `name` is that of the packed part, too.
  std::unique_ptr<PreparedLinear> projection(const char* name, const WeightMatrix& matrix, int64_t out_features,
                                             int64_t in_features) const;
  LinearSpec projection_spec(const char* name, int64_t out_features, int64_t in_features) const;
  DeviceFloats vector(const char* name, const WeightVector& vector, int64_t size) const;
  // One that must be there.
  DeviceFloats norm(const char* name, const WeightVector& vector, int64_t size) const;
  bool interleaved() const { return spec.rotation >= 0 && decoder.rotations[spec.rotation].interleaved; }
  LayerMemory memory(AttentionSpec attention) const;
};

// Throws kShape where weights do not fit the spec. Weights are read until this returns.
std::unique_ptr<AttentionLayer> make_attention(const AttentionMaker& maker);
std::unique_ptr<AttentionLayer> make_grouped_attention(const AttentionMaker& maker);
std::unique_ptr<AttentionLayer> make_latent_attention(const AttentionMaker& maker);

// The last projection of each kind of attention, with its bias.
class OutputProjection {
 public:
  OutputProjection(const AttentionMaker& maker, int64_t in_features);
  void run(const StepContext& step, Matrix in, Matrix out) const;
  void list(Inventory& inventory) const {
    inventory.add(linear_.get());
    inventory.add(bias_);
  }

 private:
  Device& device_;
  std::unique_ptr<PreparedLinear> linear_;
  DeviceFloats bias_;
};

}  // namespace moe
