#include "core/decoder/output_head.h"

#include <algorithm>
#include <limits>

#include "core/decoder/log_probabilities.h"
#include "core/error.h"
#include "core/weights/check_weights.h"
#include "core/weights/packed_weights.h"

namespace moe {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr size_t kRows = 64;         // whose logits are in memory at a time
constexpr int64_t kGrain = 1 << 16;  // logits that are worth a thread

}  // namespace

WeightVector OutputHead::norm_of(const DecoderSpec& spec, const OuterWeights& weights) {
  if (!weights.packed) {
    expect_vector("norm", weights.norm, spec.hidden_size);
    return weights.norm;
  }
  get_part(*weights.packed, "norm");
  return values_in(*weights.packed, "norm", spec.hidden_size);
}

OutputHead::OutputHead(Device& device, const DecoderSpec& spec, const OuterWeights& weights)
    : device_(device), spec_(spec), norm_(device, "norm", norm_of(spec, weights)), executor_(spec.threads) {
  if (!weights.packed) expect_matrix("head", weights.head, spec.vocabulary_size, spec.hidden_size);
  const LinearSpec linear{.name = "head",
                          .in_features = spec.hidden_size,
                          .out_features = spec.vocabulary_size,
                          .weight_type = spec.head.weight_type,
                          .weight_group = spec.head.weight_group,
                          .int8_activations = spec.head.int8_activations,
                          .threads = spec.threads};
  head_ = device.moe().prepare_linear(linear, weights.head, weights.packed);
}

std::vector<OutputHead::Row> OutputHead::rows_needed(std::span<const StepPart> parts, bool all) const {
  std::vector<Row> rows;
  for (size_t part = 0; part < parts.size(); ++part) {
    const int64_t first = parts[part].first_row, last = first + parts[part].count - 1;
    if (all)
      for (int64_t row = first; row < last; ++row) rows.push_back({row, part, false});
    if (all || parts[part].samples) rows.push_back({last, part, true});
  }
  return rows;
}

float* OutputHead::logits_of(DecoderWorkspace& workspace, Matrix hidden, std::span<const Row> rows,
                             const std::stop_token& stop) {
  const auto count = static_cast<int64_t>(rows.size());
  std::vector<int32_t> index;
  for (const Row& row : rows) index.push_back(static_cast<int32_t>(row.row));
  const Matrix selected = matrix_in(workspace.normed, count, hidden.cols);
  device_.gather(hidden, index, selected);
  device_.decoder()->rms_norm(selected, norm_.data(), spec_.norm_epsilon, selected);
  const Matrix logits = matrix_in(workspace.logits, count, spec_.vocabulary_size);
  device_.moe().linear(*head_, selected, {}, logits, stop);
  float* on_host = logits.floats();
  if (!device_.capabilities().host_memory) {
    downloaded_.resize(logits.rows * logits.cols);
    device_.download(on_host = downloaded_.data(), logits.data, logits.bytes());
  }
  device_.synchronize();
  return on_host;
}

void OutputHead::run(DecoderWorkspace& workspace, Matrix hidden, std::span<StepPart> parts, const StepOutput& out,
                     const std::stop_token& stop) {
  for (const StepPart& part : parts) {
    if (out.logprobs) out.logprobs[part.place] = kNaN;
    if (out.top_tokens) std::fill_n(out.top_tokens + part.place * kMaxTopTokens, kMaxTopTokens, -1);
    if (out.top_logprobs) std::fill_n(out.top_logprobs + part.place * kMaxTopTokens, kMaxTopTokens, kNaN);
  }
  const std::vector<Row> rows = rows_needed(parts, out.logits || out.next_logprobs);
  if (rows.empty()) return device_.synchronize();
  const int64_t vocabulary = spec_.vocabulary_size;
  for (size_t first = 0; first < rows.size(); first += kRows) {
    if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
    const std::span<const Row> some = std::span(rows).subspan(first, std::min(kRows, rows.size() - first));
    float* const logits = logits_of(workspace, hidden, some, stop);
    const auto use_some = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        use(some[i], {logits + i * vocabulary, static_cast<size_t>(vocabulary)}, parts[some[i].part], out);
    };
    executor_.parallel_for(static_cast<int64_t>(some.size()), kGrain / vocabulary + 1, use_some);
  }
}

void OutputHead::use(const Row& row, std::span<float> logits, StepPart& part, const StepOutput& out) const {
  if (spec_.logits_factor != 1)
    for (float& logit : logits) logit *= spec_.logits_factor;
  const Sequence& sequence = *part.sequence;
  const int64_t next = sequence.position + (row.row - part.first_row) + 1;  // where the token that follows stands
  if (out.logits) std::ranges::copy(logits, out.logits + row.row * spec_.vocabulary_size);
  if (out.next_logprobs) {
    const bool known = next < static_cast<int64_t>(sequence.tokens.size());
    out.next_logprobs[row.row] = known ? static_cast<float>(logits[sequence.tokens[next]] - log_sum(logits)) : kNaN;
  }
  if (!row.is_last || !part.samples) return;

  const SamplingOptions& options = sequence.sampler.options();
  const auto told = static_cast<size_t>(std::max(options.logprobs, 0));
  const bool tells = options.logprobs >= 0 && (out.logprobs || out.top_tokens || out.top_logprobs);
  std::vector<float> raw;
  double log_of_sum = 0;
  std::vector<int32_t> top_tokens(told);
  std::vector<float> top_logprobs(told);
  if (tells) {
    raw.assign(logits.begin(), logits.end());
    log_of_sum = log_sum(logits);
    tell_likeliest(logits.first(options.vocabulary), log_of_sum, top_tokens, top_logprobs);
  }
  part.sampled = sequence.sampler.sample(logits, next);
  part.failed = part.sampled < 0;
  if (!tells || part.failed) return;
  const auto place = static_cast<int64_t>(part.place);
  if (out.logprobs) out.logprobs[place] = static_cast<float>(raw[part.sampled] - log_of_sum);
  if (out.top_tokens) std::ranges::copy(top_tokens, out.top_tokens + place * kMaxTopTokens);
  if (out.top_logprobs) std::ranges::copy(top_logprobs, out.top_logprobs + place * kMaxTopTokens);
}

}  // namespace moe
