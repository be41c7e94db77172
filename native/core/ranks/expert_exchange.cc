#include "core/ranks/expert_exchange.h"

#include <algorithm>
#include <cstring>

namespace moe {
ExpertExchange::ExpertExchange(Device& device, Collective& collective, int64_t hidden_size, Options options)
    : device_(device), collective_(collective), hidden_size_(hidden_size), options_(std::move(options)) {
  for (int32_t chunk = 0; chunk < options_.chunks; ++chunk) chunks_.push_back(std::make_unique<Chunk>(device));
}

void ExpertExchange::plan(std::span<const int32_t> experts, int32_t top_k) {
  outgoing_.build(options_.placement, experts, top_k, options_.chunks, slices(), hidden_size_);
  outgoing_.place_results(shape().set(), block_of_slot_);
}

Matrix ExpertExchange::run(Matrix hidden, CountsOf counts_of, RunExperts run_experts, FunctionRef<void()> meanwhile) {
  lay_out(counts_of);
  const auto slots = static_cast<int64_t>(block_of_slot_.size());
  const Matrix home = float_matrix(home_.reserve<float>(slots * hidden_size_), slots, hidden_size_);
  const int32_t chunks = options_.chunks;
  for (int32_t chunk = 0; chunk < chunks; ++chunk) dispatch(chunk, hidden);
  meanwhile();
  for (int32_t chunk = 0; chunk < chunks; ++chunk) {
    receive(chunk);
    const ArrivedRows& rows = chunks_[chunk]->rows;
    combine(chunk,
            run_experts(rows, float_matrix(chunks_[chunk]->arrived.reserve<float>(0), rows.rows(), hidden_size_)));
  }
  for (int32_t chunk = 0; chunk < chunks; ++chunk) finish(chunk);
  return home;
}

// From what every other rank sends, what will arrive; and what will come back.
void ExpertExchange::lay_out(CountsOf counts_of) {
  const int sets = shape().sets();
  const int32_t chunks = options_.chunks;
  incoming_.resize(static_cast<size_t>(sets) * chunks);
  for (int set = 0; set < sets; ++set) {
    const auto theirs = counts_of(shape().rank_of(set, shape().member()));
    for (int32_t chunk = 0; chunk < chunks; ++chunk)
      std::memcpy(&incoming_[static_cast<size_t>(set) * chunks + chunk],
                  theirs.data() + (static_cast<size_t>(chunk) * sets + shape().set()) * sizeof(RowCount),
                  sizeof(RowCount));
  }

  int64_t results = 0;
  for (int32_t chunk = 0; chunk < chunks; ++chunk) {
    Chunk& at = *chunks_[chunk];
    at.rows.lay_out([&](int set) { return incoming_[static_cast<size_t>(set) * chunks + chunk]; }, shape().set(), sets,
                    slices(), hidden_size_);
    at.first_result = results;
    for (int32_t slice = 0; slice < slices(); ++slice)
      for (int set = 0; set < sets; ++set) results += outgoing_.results(chunk, slice, set);
  }
}

void ExpertExchange::gather_rows(Matrix from, std::span<const int32_t> index, float* to) {
  if (!index.empty()) device_.gather(from, index, float_matrix(to, static_cast<int64_t>(index.size()), from.cols));
}

// Begins to send the chunk's rows, each set's followed by their experts, and to receive those of other sets. The own
// set's rows are put where they would arrive.
void ExpertExchange::dispatch(int32_t number, Matrix hidden) {
  Chunk& chunk = *chunks_[number];
  const int32_t slice = slice_of_member();
  sends_.clear();
  index_.clear();
  for (int i = 1; i < shape().sets(); ++i) {
    const int set = set_after(i);
    const RowCount& count = outgoing_.count(number, set);
    const Part rows(count.rows, slice, slices());
    const int64_t experts = rows_of_experts(rows.size(), count.choices, hidden_size_);
    if (rows.size() == 0) continue;
    sends_.push_back({shape().rank_of(set, shape().member()), row_bytes(static_cast<int64_t>(index_.size())),
                      row_bytes(rows.size() + experts)});
    const auto tokens = outgoing_.tokens_of(number, set).subspan(rows.begin, rows.size());
    index_.insert(index_.end(), tokens.begin(), tokens.end());
    index_.insert(index_.end(), experts, -1);
  }
  float* const sent = chunk.sent.reserve<float>(index_.size() * hidden_size_);
  gather_rows(hidden, index_, sent);
  int64_t row = 0;
  for (int i = 1; i < shape().sets(); ++i) {
    const int set = set_after(i);
    const RowCount& count = outgoing_.count(number, set);
    const Part rows(count.rows, slice, slices());
    const auto experts = outgoing_.experts_of(number, set)
                             .subspan(rows.begin * count.choices, static_cast<size_t>(rows.size()) * count.choices);
    const int64_t rows_behind = rows_of_experts(rows.size(), count.choices, hidden_size_);
    experts_.assign(rows_behind * hidden_size_, 0);  // whole rows, so that no memory is sent that nobody wrote
    std::ranges::copy(experts, experts_.begin());
    device_.upload(sent + (row + rows.size()) * hidden_size_, experts_.data(), experts_.size() * sizeof(int32_t));
    row += rows.size() + rows_behind;
  }

  float* const arrived = chunk.arrived.reserve<float>(chunk.rows.rows() * hidden_size_);
  receives_.clear();
  for (int i = shape().sets() - 1; i > 0; --i) {
    const ArrivedBlock& block = chunk.rows.block(slice, i);
    if (block.rows > 0)
      receives_.push_back(
          {shape().rank_of(block.set, shape().member()), row_bytes(block.first_row), row_bytes(block.buffer_rows)});
  }
  chunk.dispatch = collective_.start(sent, sends_, arrived, receives_);

  const auto tokens = outgoing_.tokens_of(number, shape().set());
  for (int32_t own = 0; own < slices(); ++own) {
    const Part rows(static_cast<int64_t>(tokens.size()), own, slices());
    gather_rows(hidden, tokens.subspan(rows.begin, rows.size()),
                arrived + chunk.rows.block(own, 0).first_row * hidden_size_);
  }
}

// Waits for the chunk's rows and their experts.
void ExpertExchange::receive(int32_t number) {
  Chunk& chunk = *chunks_[number];
  float* const arrived = chunk.arrived.reserve<float>(0);
  collective_.wait(chunk.dispatch);
  if (options_.group_wise) {
    std::vector<Part> others;  // of each slice: what follows the own set's rows
    for (int32_t slice = 0; slice < slices(); ++slice) {
      const ArrivedBlock& own = chunk.rows.block(slice, 0);
      others.emplace_back(own.first_row + own.buffer_rows,
                          slice + 1 < slices() ? chunk.rows.block(slice + 1, 0).first_row : chunk.rows.rows());
    }
    share_slices(arrived, others);
  }

  int64_t choices = 0;
  for (const ArrivedBlock& block : chunk.rows.blocks()) choices += static_cast<int64_t>(block.rows) * block.choices;
  experts_.resize(choices);
  const auto own = outgoing_.experts_of(number, shape().set());
  int32_t* next = experts_.data();
  for (const ArrivedBlock& block : chunk.rows.blocks()) {
    const auto count = static_cast<size_t>(block.rows) * block.choices;
    if (block.set == shape().set()) {
      const Part rows(static_cast<int64_t>(outgoing_.count(number, block.set).rows), block.slice, slices());
      std::copy_n(own.data() + rows.begin * block.choices, count, next);
    } else {
      device_.download(next, arrived + (block.first_row + block.rows) * hidden_size_, count * sizeof(int32_t));
    }
    next += count;
  }
  device_.synchronize();
  chunk.rows.plan(experts_, static_cast<int32_t>(options_.placement.experts_of(shape().set()).size()));
}

// Every member of the set gives its slice of the rows to the others.
void ExpertExchange::share_slices(float* buffer, const std::vector<Part>& rows_of_slice) {
  sends_.clear();
  receives_.clear();
  const int members = shape().model_parallel;
  for (int step = 1; step < members; ++step) {
    const int to = (shape().member() + step) % members, from = (shape().member() + members - step) % members;
    const Part &mine = rows_of_slice[shape().member()], &theirs = rows_of_slice[from];
    if (mine.size() > 0)
      sends_.push_back({shape().rank_of(shape().set(), to), row_bytes(mine.begin), row_bytes(mine.size())});
    if (theirs.size() > 0)
      receives_.push_back({shape().rank_of(shape().set(), from), row_bytes(theirs.begin), row_bytes(theirs.size())});
  }
  collective_.wait(collective_.start(buffer, sends_, buffer, receives_));
}

// Begins to send the results back. Those of the own set's rows go home meanwhile.
void ExpertExchange::combine(int32_t number, Matrix done) {
  Chunk& chunk = *chunks_[number];
  const ArrivedRows& rows = chunk.rows;
  float* const home = home_.reserve<float>(0);
  const std::span<const int32_t> row_of_result(rows.row_of_result());
  float* const returned = chunk.returned.reserve<float>(rows.results() * hidden_size_);
  const int sets = shape().sets();
  sends_.clear();
  receives_.clear();

  int64_t result = 0, at_home = chunk.first_result;
  for (int32_t slice = 0; slice < slices(); ++slice) {
    const int64_t first = result + rows.block(slice, 0).results;
    result = first;
    for (int i = 1; i < sets; ++i) {
      const ArrivedBlock& block = rows.block(slice, i);
      if (slice == slice_of_member() && block.results > 0)
        sends_.push_back(
            {shape().rank_of(block.set, shape().member()), row_bytes(result - first), row_bytes(block.results)});
      result += block.results;
    }
    if (slice == slice_of_member()) gather_rows(done, row_of_result.subspan(first, result - first), returned);
    for (int i = 0; i < sets; ++i) {
      const int set = set_after(i);
      const int64_t expected = outgoing_.results(number, slice, set);
      if (i > 0 && slice == slice_of_member() && expected > 0)
        receives_.push_back({shape().rank_of(set, shape().member()), row_bytes(at_home), row_bytes(expected)});
      at_home += expected;
    }
  }
  chunk.combine = collective_.start(returned, sends_, home, receives_);

  result = 0;
  at_home = chunk.first_result;
  for (int32_t slice = 0; slice < slices(); ++slice) {
    gather_rows(done, row_of_result.subspan(result, rows.block(slice, 0).results), home + at_home * hidden_size_);
    for (int i = 0; i < sets; ++i) {
      result += rows.block(slice, i).results;
      at_home += outgoing_.results(number, slice, set_after(i));
    }
  }
}

// Waits for the chunk's results.
void ExpertExchange::finish(int32_t number) {
  const Chunk& chunk = *chunks_[number];
  collective_.wait(chunk.combine);
  if (!options_.group_wise) return;
  std::vector<Part> others;
  int64_t row = chunk.first_result;
  for (int32_t slice = 0; slice < slices(); ++slice) {
    const int64_t first = row + outgoing_.results(number, slice, shape().set());
    for (int i = 0; i < shape().sets(); ++i) row += outgoing_.results(number, slice, set_after(i));
    others.emplace_back(first, row);
  }
  share_slices(home_.reserve<float>(0), others);
}

}  // namespace moe
