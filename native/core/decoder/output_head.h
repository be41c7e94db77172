// From the last layer's rows to logits, and from those to tokens and log-probabilities.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "core/decoder/device_floats.h"
#include "core/decoder/inventory.h"
#include "core/decoder/sequences.h"
#include "core/decoder/spec.h"
#include "core/decoder/step_context.h"
#include "core/host/host_executor.h"

namespace moe {

// Where a step writes, in host memory: for each of its S sequences, or for each of its rows; null pointers are left
// out. Of sequences that are left out only `sampled` is written.
struct StepOutput {
  int32_t* sampled = nullptr;      // [S]: -1 where none was, kNoNumbers where logits are no numbers, kLeftOut
  float* logprobs = nullptr;       // [S]: of the sampled token; NaN where there is none, or nobody asks
  int32_t* top_tokens = nullptr;   // [S, kMaxTopTokens], -1 behind the last
  float* top_logprobs = nullptr;   // [S, kMaxTopTokens]
  float* logits = nullptr;         // [rows, V]
  float* next_logprobs = nullptr;  // [rows]: of the token that follows; NaN where it is not known
  float* block_inputs = nullptr;   // [layers, rows, H]: what enters the feed-forward part of each layer
};

// Sampling has found no number, or no token that may follow: the sequence is as it was before the step.
constexpr int32_t kNoNumbers = -2;
// The sequence was not there any more, or no known token was left of it: it has no rows.
constexpr int32_t kLeftOut = -3;

class OutputHead {
 public:
  OutputHead(Device& device, const DecoderSpec& spec, const OuterWeights& weights);

  // Samples where parts ask for it, and writes all but `sampled`. The device has done its work when this returns.
  void run(DecoderWorkspace& workspace, Matrix hidden, std::span<StepPart> parts, const StepOutput& out,
           const std::stop_token& stop);
  void list(Inventory& inventory) const {
    inventory.add(head_.get());
    inventory.add(norm_);
  }

 private:
  // A row of the step whose logits somebody needs.
  struct Row {
    int64_t row;  // of the step
    size_t part;
    bool is_last;  // of its part
  };

  static WeightVector norm_of(const DecoderSpec& spec, const OuterWeights& weights);
  std::vector<Row> rows_needed(std::span<const StepPart> parts, bool all) const;
  // Logits of some rows, in host memory until the next call.
  float* logits_of(DecoderWorkspace& workspace, Matrix hidden, std::span<const Row> rows, const std::stop_token& stop);
  void use(const Row& row, std::span<float> logits, StepPart& part, const StepOutput& out) const;

  Device& device_;
  const DecoderSpec& spec_;
  DeviceFloats norm_;
  std::unique_ptr<PreparedLinear> head_;
  HostExecutor executor_;
  std::vector<float> downloaded_;
};

}  // namespace moe
