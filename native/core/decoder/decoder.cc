#include "core/decoder/decoder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/weights/check_weights.h"
#include "core/weights/packed_weights.h"
#include "core/weights/read_weights.h"

namespace moe {
namespace {

Device& able(Device& device) {
  if (!device.decoder())
    throw Error(ErrorCode::kDeviceUnavailable,
                "This device runs Mixture-of-Experts layers, but not whole models: it has no attention");
  return device;
}

// As devices are asked for the layout of projections.
LayerSpec layout_spec(const ProjectionSpec& held) {
  LayerSpec spec;
  spec.weight_type = held.weight_type;
  spec.weight_group = held.weight_group;
  spec.int8_activations = held.int8_activations;
  return spec;
}

void stop_if_requested(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
}

}  // namespace

Decoder::Decoder(Device& device, DecoderSpec spec)
    : device_(able(device)), spec_(std::move(spec)), workspace_(device), rotations_(device, spec_.rotations) {}

void Decoder::add_layer(const DecoderLayerSpec& spec, const DecoderLayerWeights& weights, Progress progress,
                        const std::stop_token& stop, std::optional<ParallelOptions> parallel) {
  if (sequences_ || static_cast<int32_t>(layers_.size()) == spec_.layers)
    throw Error(ErrorCode::kShape, "Expected a model of " + std::to_string(spec_.layers) + " layers, got another");
  if (spec.feed_forward.hidden_size != spec_.hidden_size)
    throw Error(ErrorCode::kShape, "Expected a layer of hidden size " + std::to_string(spec_.hidden_size) + ", got " +
                                       std::to_string(spec.feed_forward.hidden_size));
  if (weights.packed) expect_layout(device_, layout_spec(spec_.projections), weights.packed->layout);
  stop_if_requested(stop);
  const int64_t window = spec.attention.window;
  const auto group = static_cast<size_t>(std::ranges::find(windows_, window) - windows_.begin());
  const AttentionMaker maker{device_, spec_, spec.attention, weights.attention, weights.packed, group};
  std::unique_ptr<LayerParts> layer(
      new LayerParts{maker.norm("norm", weights.attention.norm, spec_.hidden_size),
                     maker.norm("feedForwardNorm", weights.feed_forward_norm, spec_.hidden_size), make_attention(maker),
                     make_feed_forward(device_, spec, weights.feed_forward, progress, stop, std::move(parallel))});
  if (group == windows_.size()) windows_.push_back(window);
  const std::lock_guard lock(load_mutex_);
  load_.emplace_back(spec.dense ? 0 : spec.feed_forward.moe.expert_num);
  layers_.push_back(std::move(layer));
}

void Decoder::finish(const OuterWeights& weights) {
  if (sequences_) throw Error(ErrorCode::kShape, "Expected a model to be finished once");
  if (static_cast<int32_t>(layers_.size()) != spec_.layers)
    throw Error(ErrorCode::kShape,
                "Expected " + std::to_string(spec_.layers) + " layers, got " + std::to_string(layers_.size()));
  expect_matrix("embedding", weights.embedding, spec_.vocabulary_size, spec_.hidden_size);
  if (weights.packed) expect_layout(device_, layout_spec(spec_.head), weights.packed->layout);
  embedding_ = weights.embedding;
  head_ = std::make_unique<OutputHead>(device_, spec_, weights);
  sequences_ = std::make_unique<Sequences>(windows_, static_cast<int32_t>(spec_.kv_tokens / kKvBlock),
                                           spec_.prefix_cache, spec_.context_length);
}

Sequences& Decoder::sequences() const {
  if (!sequences_) throw Error(ErrorCode::kShape, "Expected a model that has been loaded");
  return *sequences_;
}

void Decoder::embed(std::span<const StepPart> parts, Matrix hidden) {
  const bool here = device_.capabilities().host_memory;
  if (!here) embedded_.resize(hidden.rows * hidden.cols);
  float* const rows = here ? hidden.floats() : embedded_.data();
  float* row = rows;
  for (const StepPart& part : parts)
    for (int64_t i = 0; i < part.count; ++i, row += hidden.cols)
      read_block(embedding_, part.sequence->tokens[part.sequence->position + i], 1, 0, hidden.cols, row);
  if (spec_.embedding_factor != 1)
    std::for_each(rows, row, [factor = spec_.embedding_factor](float& value) { value *= factor; });
  if (!here) device_.upload(hidden.data, rows, hidden.bytes());
}

std::vector<std::vector<Segment>> Decoder::segments_of(std::span<const StepPart> parts) const {
  std::vector<std::vector<Segment>> segments(windows_.size());
  for (size_t group = 0; group < segments.size(); ++group)
    for (const StepPart& part : parts)
      segments[group].push_back(
          {part.first_row, part.count, part.sequence->position, part.sequence->blocks.groups[group].table.data()});
  return segments;
}

void Decoder::run_layer(LayerParts& layer, StepContext& step, Matrix hidden) {
  DecoderStages& stages = *device_.decoder();
  const Matrix normed = matrix_in(workspace_.normed, hidden.rows, hidden.cols);
  const Matrix added = matrix_in(workspace_.added, hidden.rows, hidden.cols);
  stop_if_requested(step.stop);
  stages.rms_norm(hidden, layer.attention_norm.data(), spec_.norm_epsilon, normed);
  layer.attention->run(step, normed, added);
  stages.add_scaled(added, spec_.residual_factor, false, hidden);
  stop_if_requested(step.stop);
  stages.rms_norm(hidden, layer.feed_forward_norm.data(), spec_.norm_epsilon, normed);
  layer.feed_forward->run(step, normed, added);
  stages.add_scaled(added, spec_.residual_factor, false, hidden);
}

void Decoder::step(Workspace& experts, const Step& step, const StepOutput& out, const std::stop_token& stop) {
  std::vector<StepPart> parts = sequences().begin(step.sequences, step.counts);
  struct End {
    Sequences& sequences;
    std::vector<StepPart>& parts;
    ~End() { sequences.end(parts); }
  } const end{*sequences_, parts};
  std::fill_n(out.sampled, step.sequences.size(), kLeftOut);
  if (parts.empty()) return;
  positions_.clear();
  for (const StepPart& part : parts)
    for (int64_t i = 0; i < part.count; ++i) positions_.push_back(part.sequence->position + i);
  rotations_.start(positions_);
  const Matrix hidden = matrix_in(workspace_.hidden, static_cast<int64_t>(positions_.size()), spec_.hidden_size);
  embed(parts, hidden);
  const std::vector<std::vector<Segment>> segments = segments_of(parts);
  StepContext context{experts, workspace_, rotations_, segments, stop};
  for (const auto& layer : layers_) run_layer(*layer, context, hidden);
  head_->run(workspace_, hidden, parts, out, stop);
  sequences_->commit(parts);
  count_load();
  for (const StepPart& part : parts) out.sampled[part.place] = part.failed ? kNoNumbers : part.sampled;
}

void Decoder::count_load() {
  const std::lock_guard lock(load_mutex_);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const std::vector<uint32_t>& last = layers_[layer]->feed_forward->last_load();
    for (size_t expert = 0; expert < last.size(); ++expert) load_[layer][expert] += last[expert];
  }
}

void Decoder::list(const LayerParts& layer, Inventory& inventory) const {
  inventory.add(layer.attention_norm);
  inventory.add(layer.feed_forward_norm);
  layer.attention->list(inventory);
  layer.feed_forward->list(inventory);
}

size_t Decoder::weight_bytes() const {
  Inventory all;
  if (head_) head_->list(all);
  for (const auto& layer : layers_) list(*layer, all);
  return all.bytes;
}

PackedWeights Decoder::packed(const ProjectionSpec& held, Inventory inventory) const {
  PackedWeights packed{device_.moe().packed_layout(layout_spec(held)), {}, {}, {}};
  if (device_.capabilities().packed_weights) packed.parts = std::move(inventory.parts);
  return packed;
}

PackedWeights Decoder::packed_layer(int64_t layer) const {
  Inventory inventory;
  list(layer_at(layer), inventory);
  return packed(spec_.projections, std::move(inventory));
}

PackedWeights Decoder::packed_head() const {
  sequences();  // throws before `finish`
  Inventory inventory;
  head_->list(inventory);
  return packed(spec_.head, std::move(inventory));
}

size_t Decoder::cache_bytes() const {
  size_t bytes = 0;
  for (const auto& layer : layers_) bytes += layer->attention->memory_bytes();
  return bytes;
}

const Decoder::LayerParts& Decoder::layer_at(int64_t layer) const {
  if (layer < 0 || layer >= static_cast<int64_t>(layers_.size()))
    throw Error(ErrorCode::kShape,
                "Expected a layer from 0 to " + std::to_string(layers_.size() - 1) + ", got " + std::to_string(layer));
  return *layers_[layer];
}

std::vector<double> Decoder::expert_load(int64_t layer) const {
  const std::lock_guard lock(load_mutex_);
  layer_at(layer);
  return load_[layer];
}

}  // namespace moe
