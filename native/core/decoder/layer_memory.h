// What a layer of attention remembers of sequences: their keys and values, in blocks.
#pragma once
#include <memory>

#include "core/decoder/step_context.h"

namespace moe {

class LayerMemory {
 public:
  // group: of the block tables that say where a sequence's tokens stand.
  LayerMemory(DecoderStages& stages, const AttentionSpec& spec, int64_t blocks, size_t group)
      : stages_(stages), spec_(spec), group_(group), cache_(stages.make_cache(spec, blocks)) {}

  // Remembers the step's keys and values (without data where they are in the keys), then lets its queries attend to all
  // that is remembered before them.
  void attend(const StepContext& step, Matrix queries, Matrix keys, Matrix values, Matrix out) {
    stages_.append(*cache_, spec_, keys, values, step.segments[group_]);
    stages_.attend(*cache_, spec_, queries, step.segments[group_], out, step.stop);
  }
  size_t bytes() const { return cache_->bytes(); }

 private:
  DecoderStages& stages_;
  AttentionSpec spec_;
  size_t group_;
  std::unique_ptr<KvCache> cache_;
};

}  // namespace moe
