#include "core/expert_parallel.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/layer_facts.h"

namespace moe {
namespace {

uint64_t digest_of(std::span<const int32_t> values) {  // FNV-1a
  uint64_t digest = 0xcbf29ce484222325;
  for (const int32_t value : values) digest = (digest ^ static_cast<uint32_t>(value)) * 0x100000001b3;
  return digest;
}

}  // namespace

ExpertParallel::ExpertParallel(Backend& backend, const LayerSpec& spec, ParallelOptions options)
    : backend_(backend),
      options_(std::move(options)),
      membership_(options_.group, backend),
      collective_(membership_.collective()),
      hidden_size_(spec.hidden_size),
      intermediate_size_(spec.intermediate_size),
      top_k_(spec.moe.num_experts_chosen),
      device_index_(backend),
      device_experts_(backend),
      slot_of_row_(backend),
      row_of_slot_(backend),
      expert_offsets_(backend),
      done_(backend),
      home_(backend),
      part_(backend),
      parts_(backend),
      intermediate_(backend) {
  if (shape().model_parallel == 1) options_.group_wise = false;
  options_.chunks = std::min(options_.chunks, kMaxChunks);
  for (int32_t chunk = 0; chunk < options_.chunks; ++chunk) chunks_.push_back(std::make_unique<Chunk>(backend));
  describe_layer(spec);
}

void ExpertParallel::describe_layer(const LayerSpec& spec) {
  const LayerFacts mine(spec, options_.placement, options_.chunks, options_.group_wise);
  const auto all = group().announce({.kind = Announcement::kCreate, .layer = membership_.number()}, mine.bytes());
  for (int rank = 0; rank < (shape().led ? 1 : shape().size); ++rank) mine.expect_same(all[rank], rank, shape().rank);
}

Matrix ExpertParallel::run(const PreparedLayer& layer, Matrix hidden, std::span<const int32_t> experts,
                           FunctionRef<void()> meanwhile, const std::stop_token& stop) {
  outgoing_.build(options_.placement, experts, top_k_, options_.chunks, slices(), hidden_size_);
  share_counts(experts);
  outgoing_.place_results(shape().set(), block_of_slot_);
  const auto slots = static_cast<int64_t>(experts.size());
  const Matrix home{home_.reserve<float>(slots * hidden_size_), slots, hidden_size_};

  const int32_t chunks = options_.chunks;
  for (int32_t chunk = 0; chunk < chunks; ++chunk) dispatch(chunk, hidden);
  meanwhile();
  for (int32_t chunk = 0; chunk < chunks; ++chunk) {
    receive(chunk);
    run_experts(layer, *chunks_[chunk], stop);
    combine(chunk);
  }
  for (int32_t chunk = 0; chunk < chunks; ++chunk) finish(chunk);
  return home;
}

// Every rank learns what every other sends it, and lays out what will arrive and what will come back.
void ExpertParallel::share_counts(std::span<const int32_t> experts) {
  const Announcement mine{.kind = Announcement::kForward,
                          .layer = membership_.number(),
                          .tokens = static_cast<int64_t>(experts.size()) / top_k_,
                          .routing = digest_of(experts)};
  const auto all = group().announce(mine, std::as_bytes(outgoing_.counts()));
  const int sets = shape().sets();
  const int32_t chunks = options_.chunks;
  incoming_.resize(static_cast<size_t>(sets) * chunks);
  for (int set = 0; set < sets; ++set) {
    const auto theirs = all[shape().rank_of(set, shape().member())];
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

void ExpertParallel::gather_rows(Matrix from, std::span<const int32_t> index, float* to) {
  if (index.empty()) return;
  int32_t* const on_device = device_index_.reserve<int32_t>(index.size());
  backend_.upload(on_device, index.data(), index.size_bytes());
  backend_.gather(from, on_device, {to, static_cast<int64_t>(index.size()), from.cols});
}

// Begins to send the chunk's rows, each set's followed by their experts, and to receive those of other sets. The own
// set's rows are put where they would arrive.
void ExpertParallel::dispatch(int32_t number, Matrix hidden) {
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
    backend_.upload(sent + (row + rows.size()) * hidden_size_, experts_.data(), experts_.size() * sizeof(int32_t));
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

// Waits for the chunk's rows and plans them.
void ExpertParallel::receive(int32_t number) {
  Chunk& chunk = *chunks_[number];
  float* const arrived = chunk.arrived.reserve<float>(0);
  collective_.wait(chunk.dispatch);
  if (options_.group_wise) {
    std::vector<Part> others;  // of each slice: what follows the own set's rows
    for (int32_t slice = 0; slice < slices(); ++slice) {
      const ArrivedBlock& own = chunk.rows.block(slice, 0);
      Part part(0, 0, 1);
      part.begin = own.first_row + own.buffer_rows;
      part.end = slice + 1 < slices() ? chunk.rows.block(slice + 1, 0).first_row : chunk.rows.rows();
      others.push_back(part);
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
      backend_.download(next, arrived + (block.first_row + block.rows) * hidden_size_, count * sizeof(int32_t));
    }
    next += count;
  }
  backend_.synchronize();
  chunk.rows.plan(experts_, static_cast<int32_t>(options_.placement.experts_of(shape().set()).size()));
}

// Every member of the set gives its slice of the rows to the others.
void ExpertParallel::share_slices(float* buffer, const std::vector<Part>& rows_of_slice) {
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

void ExpertParallel::run_experts(const PreparedLayer& layer, Chunk& chunk, const std::stop_token& stop) {
  const ArrivedRows& rows = chunk.rows;
  if (rows.results() == 0) return;
  const std::vector<int32_t>& experts = rows.experts();
  const auto local_experts = static_cast<int32_t>(options_.placement.experts_of(shape().set()).size());
  int32_t* const on_device = device_experts_.reserve<int32_t>(experts.size());
  backend_.upload(on_device, experts.data(), experts.size() * sizeof(int32_t));
  const DispatchPlan plan{slot_of_row_.reserve<int32_t>(experts.size()), row_of_slot_.reserve<int32_t>(experts.size()),
                          expert_offsets_.reserve<int32_t>(local_experts + 1), rows.slots(), rows.choices()};
  backend_.plan(on_device, local_experts, plan);
  const Matrix arrived{chunk.arrived.reserve<float>(0), rows.rows(), hidden_size_};
  const Matrix done{done_.reserve<float>(rows.results() * hidden_size_), rows.results(), hidden_size_};
  if (shape().model_parallel == 1)
    backend_.run_experts(layer, arrived, plan, done, stop);
  else
    run_columns(layer, arrived, plan, done, stop);
}

// Each member computes its part of the columns of every row, and all of them gather the whole rows.
void ExpertParallel::run_columns(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                                 const std::stop_token& stop) {
  const int members = shape().model_parallel;
  const int64_t rows = out.rows, width = Part(intermediate_size_, shape().member(), members).size(),
                columns = Part(hidden_size_, shape().member(), members).size();
  const Matrix whole{intermediate_.reserve<float>(rows * intermediate_size_), rows, intermediate_size_};
  const Matrix up{part_.reserve<float>(rows * width), rows, width};
  backend_.run_up(layer, hidden, plan, up, stop);
  all_gather_columns(up, whole);
  const Matrix down{part_.reserve<float>(rows * columns), rows, columns};
  backend_.run_down(layer, whole, plan, down, stop);
  all_gather_columns(down, out);
}

void ExpertParallel::all_gather_columns(Matrix part, Matrix whole) {
  const int members = shape().model_parallel;
  const auto columns_of = [&](int member) { return Part(whole.cols, member, members); };
  float* const parts = parts_.reserve<float>(whole.rows * whole.cols);
  sends_.clear();
  receives_.clear();
  for (int step = 1; step < members; ++step) {
    const int to = (shape().member() + step) % members, from = (shape().member() + members - step) % members;
    const auto bytes = [&](int64_t columns) { return static_cast<size_t>(whole.rows * columns) * sizeof(float); };
    if (part.cols > 0) sends_.push_back({shape().rank_of(shape().set(), to), 0, bytes(part.cols)});
    if (const Part theirs = columns_of(from); theirs.size() > 0)
      receives_.push_back({shape().rank_of(shape().set(), from), bytes(theirs.begin), bytes(theirs.size())});
  }
  const uint64_t exchange = collective_.start(part.data, sends_, parts, receives_);
  if (part.cols > 0) backend_.place_columns(part, columns_of(shape().member()).begin, whole);
  collective_.wait(exchange);
  for (int member = 0; member < members; ++member)
    if (const Part theirs = columns_of(member); member != shape().member() && theirs.size() > 0)
      backend_.place_columns({parts + whole.rows * theirs.begin, whole.rows, theirs.size()}, theirs.begin, whole);
}

// Begins to send the results back. Those of the own set's rows go home at once.
void ExpertParallel::combine(int32_t number) {
  Chunk& chunk = *chunks_[number];
  const ArrivedRows& rows = chunk.rows;
  const Matrix done{done_.reserve<float>(0), rows.results(), hidden_size_};
  float* const home = home_.reserve<float>(0);
  const std::span<const int32_t> row_of_result(rows.row_of_result());
  float* const returned = chunk.returned.reserve<float>(rows.results() * hidden_size_);
  sends_.clear();
  receives_.clear();

  int64_t result = 0, at_home = chunk.first_result;
  for (int32_t slice = 0; slice < slices(); ++slice) {
    const int64_t own = rows.block(slice, 0).results;
    gather_rows(done, row_of_result.subspan(result, own), home + at_home * hidden_size_);
    result += own;
    const int64_t first = result;
    for (int i = 1; i < shape().sets(); ++i) {
      const ArrivedBlock& block = rows.block(slice, i);
      if (slice == slice_of_member() && block.results > 0)
        sends_.push_back(
            {shape().rank_of(block.set, shape().member()), row_bytes(result - first), row_bytes(block.results)});
      result += block.results;
    }
    if (slice == slice_of_member()) gather_rows(done, row_of_result.subspan(first, result - first), returned);

    for (int i = 0; i < shape().sets(); ++i) {
      const int set = set_after(i);
      const int64_t expected = outgoing_.results(number, slice, set);
      if (i > 0 && slice == slice_of_member() && expected > 0)
        receives_.push_back({shape().rank_of(set, shape().member()), row_bytes(at_home), row_bytes(expected)});
      at_home += expected;
    }
  }
  chunk.combine = collective_.start(returned, sends_, home, receives_);
}

// Waits for the chunk's results.
void ExpertParallel::finish(int32_t number) {
  const Chunk& chunk = *chunks_[number];
  collective_.wait(chunk.combine);
  if (!options_.group_wise) return;
  std::vector<Part> others;
  int64_t row = chunk.first_result;
  for (int32_t slice = 0; slice < slices(); ++slice) {
    Part part(0, 0, 1);
    row += outgoing_.results(number, slice, shape().set());
    part.begin = row;
    for (int i = 1; i < shape().sets(); ++i) row += outgoing_.results(number, slice, set_after(i));
    part.end = row;
    others.push_back(part);
  }
  share_slices(home_.reserve<float>(0), others);
}

void ExpertParallel::sum(std::span<double> values) {
  const size_t most = group().announced_bytes() / sizeof(double);
  for (std::span<double> left = values; !left.empty();) {
    const std::span<double> piece = left.first(std::min(left.size(), most));
    const auto all =
        group().announce({.kind = Announcement::kSum, .layer = membership_.number()}, std::as_bytes(piece));
    std::fill(piece.begin(), piece.end(), 0.0);
    for (int set = 0; set < shape().sets(); ++set)
      for (size_t i = 0; i < piece.size(); ++i) {
        double theirs;
        std::memcpy(&theirs, all[shape().rank_of(set, 0)].data() + i * sizeof(double), sizeof(double));
        piece[i] += theirs;
      }
    left = left.subspan(piece.size());
  }
}

}  // namespace moe
