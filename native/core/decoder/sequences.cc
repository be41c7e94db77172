#include "core/decoder/sequences.h"

#include <string>
#include <utility>

#include "core/error.h"

namespace moe {
namespace {

constexpr int64_t kMaxRows = int64_t{1} << 20;  // of a step

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::kShape, message); }

}  // namespace

Sequences::Sequences(std::vector<int64_t> windows, int32_t blocks, bool keep_prefixes, int64_t context_length)
    : tables_(std::move(windows), blocks, keep_prefixes), context_length_(context_length) {}

std::optional<Admission> Sequences::admit(std::span<const int32_t> tokens, int64_t new_tokens, SamplingOptions sampling,
                                          bool shares) {
  if (tokens.empty()) refuse("Expected a prompt of at least one token");
  const int64_t limit = static_cast<int64_t>(tokens.size()) + new_tokens;
  if (limit > context_length_)
    refuse("Expected prompt and new tokens to fit the context of " + std::to_string(context_length_) + " tokens, got " +
           std::to_string(tokens.size()) + " + " + std::to_string(new_tokens));
  Sampler sampler(std::move(sampling), tokens);
  const std::lock_guard lock(mutex_);
  std::optional<SequenceBlocks> blocks = tables_.admit(tokens, new_tokens, shares);
  if (!blocks) return std::nullopt;
  while (sequences_.contains(next_number_)) next_number_ = (next_number_ + 1) & INT32_MAX;
  const int32_t number = std::exchange(next_number_, (next_number_ + 1) & INT32_MAX);
  const int64_t cached = blocks->cached;
  sequences_.emplace(
      number,
      new Sequence{number, {tokens.begin(), tokens.end()}, limit, cached, std::move(*blocks), std::move(sampler)});
  return Admission{number, cached};
}

void Sequences::release(int32_t number) {
  const std::lock_guard lock(mutex_);
  const auto place = sequences_.find(number);
  if (place == sequences_.end()) refuse("Expected a sequence, got " + std::to_string(number));
  if (place->second->released) refuse("Expected sequence " + std::to_string(number) + " to be released once");
  if (place->second->in_step)
    place->second->released = true;
  else
    erase(*place->second);
}

void Sequences::erase(Sequence& sequence) noexcept {
  tables_.release(sequence.blocks);
  sequences_.erase(sequence.number);
}

BlockUsage Sequences::usage() const {
  const std::lock_guard lock(mutex_);
  return tables_.usage();
}

int64_t Sequences::count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(sequences_.size());
}

std::optional<StepPart> Sequences::part_of(size_t place, int32_t number, int64_t count, int64_t first_row) {
  const auto found = sequences_.find(number);
  if (found == sequences_.end()) return std::nullopt;
  Sequence& sequence = *found->second;
  if (sequence.in_step) refuse("Expected sequence " + std::to_string(number) + " once in a step");
  const auto known = static_cast<int64_t>(sequence.tokens.size());
  if (known == sequence.position) return std::nullopt;
  if (count < 1 || count > known - sequence.position)
    refuse("Expected a step to feed sequence " + std::to_string(number) + " 1 to " +
           std::to_string(known - sequence.position) + " known tokens, got " + std::to_string(count));
  if (count > kMaxRows - first_row) refuse("Expected a step of at most 2^20 tokens");
  return StepPart{&sequence, place, first_row, count, sequence.position + count == known && known < sequence.limit};
}

std::vector<StepPart> Sequences::begin(std::span<const int32_t> numbers, std::span<const int32_t> counts) {
  const std::lock_guard lock(mutex_);
  std::vector<StepPart> parts;
  int64_t rows = 0;
  try {
    for (size_t i = 0; i < numbers.size(); ++i) {
      const std::optional<StepPart> part = part_of(i, numbers[i], counts[i], rows);
      if (!part) continue;
      parts.push_back(*part);
      part->sequence->in_step = true;
      rows += part->count;
    }
    for (const StepPart& part : parts) tables_.extend(part.sequence->blocks, part.sequence->position + part.count);
  } catch (...) {
    for (const StepPart& part : parts) part.sequence->in_step = false;
    throw;
  }
  return parts;
}

void Sequences::commit(std::span<const StepPart> parts) {
  const std::lock_guard lock(mutex_);
  for (const StepPart& part : parts) {
    if (part.failed) continue;
    Sequence& sequence = *part.sequence;
    sequence.position += part.count;
    tables_.advance(sequence.blocks, sequence.tokens, sequence.position);
    if (part.sampled < 0) continue;
    sequence.tokens.push_back(part.sampled);
    sequence.sampler.accept(part.sampled);
  }
}

void Sequences::end(std::span<const StepPart> parts) noexcept {
  const std::lock_guard lock(mutex_);
  for (const StepPart& part : parts) {
    part.sequence->in_step = false;
    if (part.sequence->released) erase(*part.sequence);
  }
}

}  // namespace moe
