#include "cpu/grouped_gemm.h"

#include <algorithm>

#include "core/error.h"
#include "cpu/subnormals.h"

namespace moe::cpu {
namespace {

// A task should take about this long: much longer than handing it out, much shorter than a call. It takes less where
// there would be too few tasks for the threads, but not so little that waking a thread costs more.
constexpr double kTaskSeconds = 20e-6;
constexpr double kLeastTaskSeconds = 5e-6;
// Rough rates of one core, to turn work into time.
constexpr double kFlopsPerSecond = 80e9;
constexpr double kBytesPerSecond = 10e9;
constexpr int64_t kTasksPerThread = 4;
// Numbers that are worth a thread: to copy, and to quantise.
constexpr int64_t kCopiedFloats = 16384, kQuantisedFloats = 4096;

void check(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
}

// The row at which a tile begins, as kernels/table.h cuts them.
int64_t row_begin(int64_t rows, int64_t tiles, int64_t tile) {
  return tile * (rows / tiles) + std::min(tile, rows % tiles);
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

GroupedGemm::GroupedGemm(const Kernels& kernels, const DotKernels* dots)
    : kernels_(kernels),
      pair_kernels_(pair_kernels(kernels)),
      dot_kernels_(dots),
      scratch_floats_(std::max({kernels.scratch_floats, pair_kernels_ ? pair_kernels_->scratch_floats : 0,
                                dots ? dots->scratch_floats : 0})) {}

const DotKernels* GroupedGemm::dots_for(const PackedMatrices& weights, int64_t expert) const {
  const bool enough = dot_kernels_ && rows_.offsets[expert + 1] - rows_.offsets[expert] >= dot_kernels_->least_rows;
  return enough && dot_kernels_->gemm[static_cast<size_t>(weights.panels(expert))] ? dot_kernels_ : nullptr;
}

bool GroupedGemm::read_same_rows(const PackedMatrices& a, const PackedMatrices& b) const {
  if (&a == &b) return true;
  if (a.matrices() != 1 || b.matrices() != 1 || a.row_type(0) != b.row_type(0)) return false;
  if (a.row_type(0) == RowType::kBFloat16) return a.panels(0) == b.panels(0);
  return a.row_type(0) == RowType::kFloat32 ||
         (a.group(0) == b.group(0) && a.row_offset(0) == b.row_offset(0) && dots_for(a, 0) == dots_for(b, 0));
}

void GroupedGemm::set_rows(const RowsByExpert& rows, int64_t experts) {
  rows_ = rows;
  num_rows_ = rows.offsets[experts];
  chunks_.clear();
  for (int64_t expert = 0; expert < experts; ++expert) {
    const int64_t count = rows.offsets[expert + 1] - rows.offsets[expert];
    const int64_t tiles = divide_up(count, kernels_.tile_rows);
    const int64_t parts = divide_up(tiles, kernels_.max_tiles);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = row_begin(tiles, parts, part), end = row_begin(tiles, parts, part + 1);
      chunks_.push_back({.expert = expert,
                         .first_tile = first,
                         .num_tiles = end - first,
                         .rows = row_begin(count, tiles, end) - row_begin(count, tiles, first),
                         .tiles_before = 0});
    }
  }
  // Large pieces of work first, so that the end is made of small ones. Expert and tile make the order unique.
  std::sort(chunks_.begin(), chunks_.end(), [](const Chunk& a, const Chunk& b) {
    if (a.rows != b.rows) return a.rows > b.rows;
    return a.expert != b.expert ? a.expert < b.expert : a.first_tile < b.first_tile;
  });
  int64_t tiles_before = 0;
  for (Chunk& chunk : chunks_) {
    chunk.tiles_before = tiles_before;
    tiles_before += chunk.num_tiles;
  }
}

template <class Body>
void GroupedGemm::for_each_tile(int64_t depth, int64_t floats, ThreadPool::Team& team, const std::stop_token& stop,
                                const Body& body) const {
  if (chunks_.empty()) return;
  const int64_t count = chunks_.back().tiles_before + chunks_.back().num_tiles;
  const int64_t grain = std::max<int64_t>(1, floats * count / (num_rows_ * depth));
  team.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    check(stop);
    for (int64_t index = begin; index < end; ++index) {
      const Chunk& chunk = *std::prev(std::upper_bound(
          chunks_.begin(), chunks_.end(), index, [](int64_t tile, const Chunk& c) { return tile < c.tiles_before; }));
      const int64_t first = rows_.offsets[chunk.expert], rows = rows_.offsets[chunk.expert + 1] - first;
      const int64_t num_tiles = divide_up(rows, kernels_.tile_rows);
      const int64_t tile = chunk.first_tile + index - chunk.tiles_before;
      const int64_t row = first + row_begin(rows, num_tiles, tile);
      body(chunk.expert, row, first + row_begin(rows, num_tiles, tile + 1) - row);
    }
  });
}

void GroupedGemm::gather(const float* input, int64_t depth, float* tiles, ThreadPool::Team& team,
                         const std::stop_token& stop) const {
  for_each_tile(depth, kCopiedFloats, team, stop, [&](int64_t, int64_t row, int64_t rows) {
    kernels_.pack_rows({.hidden = input,
                        .slot_of_row = rows_.slot_of_row ? rows_.slot_of_row + row : nullptr,
                        .first_token = row,
                        .fan_out = rows_.fan_out,
                        .rows = rows,
                        .depth = depth,
                        .tile = tiles + row * depth});
  });
}

void GroupedGemm::activate(const Epilogue& epilogue, float* gate, const float* up, int64_t columns, float* tiles,
                           ThreadPool::Team& team, const std::stop_token& stop) const {
  for_each_tile(columns, kQuantisedFloats, team, stop, [&](int64_t, int64_t row, int64_t rows) {
    float* const at = gate + row * columns;
    kernels_.activate(epilogue, at, up + row * columns, at, rows * columns);
    kernels_.pack_rows({.hidden = gate,
                        .slot_of_row = nullptr,
                        .first_token = row,
                        .fan_out = 1,
                        .rows = rows,
                        .depth = columns,
                        .tile = tiles + row * columns});
  });
}

void GroupedGemm::scatter(const float* tiles, int64_t depth, float* rows, ThreadPool::Team& team) const {
  team.parallel_for(static_cast<int64_t>(chunks_.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const Chunk& chunk = chunks_[index];
      const int64_t first = rows_.offsets[chunk.expert], count = rows_.offsets[chunk.expert + 1] - first;
      const int64_t num_tiles = divide_up(count, kernels_.tile_rows);
      for (int64_t tile = chunk.first_tile; tile < chunk.first_tile + chunk.num_tiles; ++tile) {
        const int64_t row = first + row_begin(count, num_tiles, tile);
        const int64_t height = first + row_begin(count, num_tiles, tile + 1) - row;
        const float* const from = tiles + row * depth;
        for (int64_t i = 0; i < height; ++i)
          for (int64_t k = 0; k < depth; ++k) rows[(row + i) * depth + k] = from[k * height + i];
      }
    }
  });
}

void GroupedGemm::quantize(const float* tiles, const PackedMatrices& weights, ThreadPool::Team& team,
                           const std::stop_token& stop) {
  const int64_t depth = weights.depth(), groups = weights.most_groups(), row_bytes = dot_row_bytes(depth);
  auto* const integers = integers_.reserve<int8_t>(num_rows_ * row_bytes);
  auto* const scales = row_scales_.reserve<float>(num_rows_ * groups);
  auto* const starts = row_starts_.reserve<int32_t>(num_rows_ * groups);
  for_each_tile(depth, kQuantisedFloats, team, stop, [&](int64_t expert, int64_t row, int64_t rows) {
    if (weights.row_type(expert) != RowType::kInt8) return;
    // Experts have room for the most groups, their tiles stand one behind the other.
    const int64_t first = rows_.offsets[expert], group = weights.group(expert);
    const int64_t at = first * groups + (row - first) * divide_up(depth, group);
    const DotKernels* const dots = dots_for(weights, expert);
    const auto quantize_tile = dots ? dots->quantize_tile : kernels_.quantize_tile;
    quantize_tile({.tile = tiles + row * depth,
                   .rows = rows,
                   .depth = depth,
                   .group = group,
                   .offset = weights.row_offset(expert),
                   .integers = integers + row * row_bytes,
                   .scales = scales + at,
                   .starts = starts + at});
  });
}

const float* GroupedGemm::round(const float* tiles, int64_t depth, ThreadPool::Team& team,
                                const std::stop_token& stop) {
  auto* const rounded = rounded_.reserve<float>(num_rows_ * depth);
  for_each_tile(depth, kCopiedFloats, team, stop, [&](int64_t, int64_t row, int64_t rows) {
    kernels_.round_to_bfloat16(tiles + row * depth, rows * depth, rounded + row * depth);
  });
  return rounded;
}

const uint32_t* GroupedGemm::pair(const float* tiles, int64_t depth, ThreadPool::Team& team,
                                  const std::stop_token& stop) {
  const int64_t words = pairs_of(depth);
  auto* const pairs = rounded_.reserve<uint32_t>(num_rows_ * words);
  for_each_tile(depth, kCopiedFloats, team, stop, [&](int64_t, int64_t row, int64_t rows) {
    pair_kernels_->pack_pairs(
        {.tile = tiles + row * depth, .rows = rows, .depth = depth, .pairs = pairs + row * words});
  });
  return pairs;
}

int64_t GroupedGemm::panels_per_task(const PackedMatrices& weights, int64_t panels_of_all, int threads) const {
  const double rows = static_cast<double>(num_rows_) / static_cast<double>(chunks_.size());
  const double panel_flops = 2.0 * rows * static_cast<double>(weights.depth() * kernels_.panel_columns);
  const double panel_seconds =
      std::max(panel_flops / kFlopsPerSecond, static_cast<double>(weights.most_panel_bytes()) / kBytesPerSecond);
  const auto panels_for = [&](double seconds) { return 1 + static_cast<int64_t>(seconds / panel_seconds); };
  int64_t panels = panels_for(kTaskSeconds);
  panels = divide_up(panels, kPanelsTogether) * kPanelsTogether;
  const int64_t total = static_cast<int64_t>(chunks_.size()) * panels_of_all;
  const int64_t even_share = std::max(panels_for(kLeastTaskSeconds), total / (kTasksPerThread * threads));
  return std::min({panels, even_share, weights.num_panels()});
}

void GroupedGemm::multiply(std::span<const Product> products, const float* tiles, const Epilogue& epilogue,
                           ThreadPool::Team& team, const std::stop_token& stop) {
  if (chunks_.empty()) return;
  while (!products.empty()) {
    const PackedMatrices& first = *products.front().weights;
    const auto other =
        std::ranges::find_if(products, [&](const Product& each) { return !read_same_rows(first, *each.weights); });
    const auto alike = static_cast<size_t>(other - products.begin());
    multiply_together(products.first(alike), tiles, epilogue, team, stop);
    products = products.subspan(alike);
  }
}

GroupedGemm::MadeRows GroupedGemm::make_rows(const float* tiles, const PackedMatrices& weights, ThreadPool::Team& team,
                                             const std::stop_token& stop) {
  if (weights.most_groups() > 0) quantize(tiles, weights, team, stop);
  if (weights.row_type(0) != RowType::kBFloat16) return {tiles, nullptr, nullptr};
  // Experts with a row each wait for their weights, and making pairs of integers takes longer than floats.
  const bool has_pairs = pair_kernels_ && chunks_.front().rows > 1 && weights.have_panels(weights.panels(0));
  const auto gemm = has_pairs ? pair_kernels_->gemm[static_cast<size_t>(weights.panels(0))] : nullptr;
  if (gemm) return {tiles, pair(tiles, weights.depth(), team, stop), gemm};
  return {round(tiles, weights.depth(), team, stop), nullptr, nullptr};
}

void GroupedGemm::multiply_together(std::span<const Product> products, const float* tiles, const Epilogue& epilogue,
                                    ThreadPool::Team& team, const std::stop_token& stop) {
  const PackedMatrices& first = *products.front().weights;
  const MadeRows rows = make_rows(tiles, first, team, stop);
  float* const scratch = scratch_.reserve<float>(team.threads() * scratch_floats_);
  int64_t panels_of_all = 0;
  for (const Product& product : products) panels_of_all += product.weights->num_panels();
  tasks_.clear();
  int64_t tasks = 0;
  for (const Product& product : products) {
    const int64_t panels = panels_per_task(*product.weights, panels_of_all, team.threads());
    tasks += static_cast<int64_t>(chunks_.size()) * divide_up(product.weights->num_panels(), panels);
    tasks_.insert(tasks_.end(), {panels, tasks});
  }
  team.parallel_for(tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      check(stop);
      size_t which = 0;
      while (tasks_[2 * which + 1] <= task) ++which;
      const PackedMatrices& weights = *products[which].weights;
      const int64_t panels = tasks_[2 * which], before = which > 0 ? tasks_[2 * which - 1] : 0;
      const int64_t groups = divide_up(weights.num_panels(), panels);
      run_task(products[which], (task - before) / groups, (task - before) % groups * panels, panels, rows, epilogue,
               scratch + ThreadPool::worker() * scratch_floats_);
    }
  });
}

void GroupedGemm::run_task(const Product& product, int64_t chunk_index, int64_t panel, int64_t panels,
                           const MadeRows& rows, const Epilogue& epilogue, float* scratch) const {
  const PackedMatrices& weights = *product.weights;
  const Chunk& chunk = chunks_[chunk_index];
  const int64_t expert = chunk.expert, first = rows_.offsets[expert], depth = weights.depth();
  const int64_t groups = weights.most_groups();
  const bool in_bfloat16 = weights.row_type(expert) == RowType::kBFloat16;
  const WithoutSubnormals without(in_bfloat16 && are_bfloat16(weights.panels(expert)));
  const DotKernels* const dots = dots_for(weights, expert);
  const auto gemm = rows.gemm_of_pairs ? rows.gemm_of_pairs
                    : dots             ? dots->gemm[static_cast<size_t>(weights.panels(expert))]
                                       : weights.kernels(expert).gemm;
  gemm({.input = rows.tiles + first * depth,
        .integers = static_cast<const int8_t*>(integers_.data()) + first * dot_row_bytes(depth),
        .row_scales = static_cast<const float*>(row_scales_.data()) + first * groups,
        .row_starts = static_cast<const int32_t*>(row_starts_.data()) + first * groups,
        .pairs = rows.pairs ? rows.pairs + first * pairs_of(depth) : nullptr,
        .rows = rows_.offsets[expert + 1] - first,
        .depth = depth,
        .first_tile = chunk.first_tile,
        .num_tiles = chunk.num_tiles,
        .group = weights.group(expert),
        .panels = weights.panel(expert, panel),
        .form = weights.form(expert),
        .bias = weights.bias(expert, panel),
        .num_panels = std::min(panels, weights.num_panels() - panel),
        .first_panel = panel,
        .columns = weights.columns(),
        .output = product.output + first * weights.columns(),
        .epilogue = epilogue,
        .scratch = scratch});
}

}  // namespace moe::cpu
