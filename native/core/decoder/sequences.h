// The sequences of a decoder: their tokens, how far each is computed, and their blocks.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/decoder/block_tables.h"
#include "core/decoder/sampler.h"

namespace moe {

struct Sequence {
  int32_t number;
  std::vector<int32_t> tokens;  // that are known
  int64_t limit;                // tokens that it may have
  int64_t position = 0;         // tokens that are computed
  SequenceBlocks blocks;
  Sampler sampler;
  bool in_step = false;
  bool released = false;  // while in a step, with which it goes
};

struct Admission {
  int32_t sequence;
  int64_t cached;
};

// What a step does with a sequence: its next `count` known tokens are rows from first_row on.
struct StepPart {
  Sequence* sequence;
  size_t place;  // in the call
  int64_t first_row, count;
  bool samples;          // no known token is left behind them, and there is room for one
  int32_t sampled = -1;  // the step writes it
  bool failed = false;   // the step writes it: the sequence stays as it was
};

// Any thread may call it. What stands in a sequence is the step's that has begun with it, until that ends.
class Sequences {
 public:
  // windows: of the layers' groups of tables.
  Sequences(std::vector<int64_t> windows, int32_t blocks, bool keep_prefixes, int64_t context_length);

  // Nothing where there is no room now. Throws kShape where there never will be.
  // Without `shares` all of its tokens are computed.
  std::optional<Admission> admit(std::span<const int32_t> tokens, int64_t new_tokens, SamplingOptions sampling,
                                 bool shares = true);
  // At once, or with the step that runs with it.
  void release(int32_t sequence);
  BlockUsage usage() const;
  int64_t count() const;

  // Makes room for what the step computes. Throws kShape for what is no step. Sequences that were released, or have no
  // known token left, are left out: a step may have been queued when nobody knew that they would end.
  std::vector<StepPart> begin(std::span<const int32_t> numbers, std::span<const int32_t> counts);
  // The step has succeeded: its tokens are computed, and what it sampled is known.
  void commit(std::span<const StepPart> parts);
  // The step has ended, in whatever way.
  void end(std::span<const StepPart> parts) noexcept;

 private:
  std::optional<StepPart> part_of(size_t place, int32_t number, int64_t count, int64_t first_row);
  void erase(Sequence& sequence) noexcept;

  mutable std::mutex mutex_;
  BlockTables tables_;
  int64_t context_length_;
  int32_t next_number_ = 0;
  std::unordered_map<int32_t, std::unique_ptr<Sequence>> sequences_;
};

}  // namespace moe
