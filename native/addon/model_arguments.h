// What JavaScript says of whole models, as src/binding/model.ts declares it. Here only what could corrupt memory is
// checked.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "addon/arguments.h"
#include "core/decoder/decoder.h"

namespace moe {

// The object at `name`; throws kShape where there is none.
Napi::Object read_object(Napi::Object from, const char* name);
// A copy of the Int32Array at `name`; throws kShape where there is none.
std::vector<int32_t> read_integers(Napi::Object from, const char* name);

DecoderSpec read_decoder_spec(Napi::Object from);
DecoderLayerSpec read_decoder_layer(Napi::Object from, const DecoderSpec& decoder);
SamplingOptions read_sampling(Napi::Object from, int32_t vocabulary_size);

struct DecoderLayerArguments {
  DecoderLayerWeights weights;
  std::vector<std::shared_ptr<MappedFile>> files;
};
DecoderLayerArguments read_decoder_views(Napi::Object from);

// `files` without those of the embedding, which stays borrowed.
struct OuterArguments {
  OuterWeights weights;
  std::vector<std::shared_ptr<MappedFile>> files, of_embedding;
};
OuterArguments read_outer_views(Napi::Object from);

// A step, and where it writes. The arrays of `output` stay borrowed for as long as `arrays`, a JavaScript array of
// them, is kept.
struct StepArguments {
  Step step;
  StepOutput output;
  Napi::Array arrays;
};
StepArguments read_step(Napi::Object from, const DecoderSpec& spec);

}  // namespace moe
