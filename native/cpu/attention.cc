#include "cpu/attention.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace moe::cpu {
namespace {

// Rows that share a block of keys and values: enough to make bringing it cheap, few enough to stay in L2.
constexpr int64_t kRowsOfPiece = 64;
// Pieces for each thread below which long runs of keys are cut.
constexpr int64_t kPiecesPerThread = 8;
// The least key blocks of a piece of a run that is cut.
constexpr int64_t kLeastBlocks = 2;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Of a row that does not see a block: no sum of exponentials is negative.
constexpr Softened kNothing{kMinusInfinity, -1};

int64_t first_key(const AttentionSpec& spec, int64_t position) {
  return spec.window > 0 ? std::max<int64_t>(0, position + 1 - spec.window) : 0;
}

int64_t tokens_of_piece(const AttentionSpec& spec) {
  return std::max<int64_t>(1, kRowsOfPiece / (spec.heads / spec.kv_heads));
}

}  // namespace

// The rows of a piece, and where the work on them stands in scratch.
struct Attention::Rows {
  Rows(const Piece& piece, const CpuKvCache& cache, const AttentionSpec& spec, std::byte* scratch)
      : group(spec.heads / spec.kv_heads),
        count(piece.tokens * group),
        width(cache.padded_value()),
        position(piece.segment->position + piece.first_token),
        first_slot(((piece.segment->first_row + piece.first_token) * spec.heads) + piece.kv_head * group),
        heads(spec.heads) {
    const auto take = [&scratch]<class T>(T*& to, int64_t items) {
      to = reinterpret_cast<T*>(scratch);
      scratch += (items * sizeof(T) + 63) / 64 * 64;
    };
    take(queries, count);
    take(first, count);
    take(end, count);
    take(softened, count);
    take(block_softened, count);
    take(scores, count * kKeys);
    take(block_values, count * width);
    take(values, count * width);
    take(tiles, count * attend_tile_floats(spec.key_size));
    take(panel, attend_panel_floats(spec.key_size, cache.value_stride()));
    bytes_end = scratch;
  }
  static size_t bytes(const CpuKvCache& cache, const AttentionSpec& spec, int64_t tokens) {
    Piece piece{};
    const Segment segment{};
    piece.segment = &segment;
    piece.tokens = tokens;
    return Rows(piece, cache, spec, nullptr).bytes_end - static_cast<std::byte*>(nullptr);
  }

  int64_t token_of(int64_t r) const { return r / group; }
  // The row's place among [T * heads].
  int64_t slot_of(int64_t r) const { return first_slot + token_of(r) * heads + r % group; }

  int64_t group, count, width;
  int64_t position, first_slot;  // of the first row
  int32_t heads;
  const float** queries;
  int64_t *first, *end;
  Softened *softened, *block_softened;
  float *scores, *block_values, *values, *tiles, *panel;
  std::byte* bytes_end;
};

void Attention::cut(const CpuKvCache& cache, const AttentionSpec& spec, std::span<const Segment> segments,
                    int threads) {
  pieces_.clear();
  whole_.clear();
  const int64_t group = spec.heads / spec.kv_heads, most_tokens = tokens_of_piece(spec);
  for (const Segment& segment : segments) {
    for (int32_t head = 0; head < spec.kv_heads; ++head) {
      for (int64_t token = 0; token < segment.rows; token += most_tokens) {
        const int64_t tokens = std::min(most_tokens, segment.rows - token);
        const int64_t first = first_key(spec, segment.position + token) / kKeys;
        const int64_t end = (segment.position + token + tokens - 1) / kKeys + 1;
        whole_.push_back({&segment, head, token, tokens, first, end - first, -1});
      }
    }
  }
  if (static_cast<int64_t>(whole_.size()) >= kPiecesPerThread * threads) {
    // The longest first, so that the end is made of short ones.
    std::sort(whole_.begin(), whole_.end(), [](const Piece& a, const Piece& b) { return a.blocks > b.blocks; });
    pieces_.swap(whole_);
    return;
  }
  int64_t blocks = 0, partials = 0;
  for (const Piece& piece : whole_) blocks += piece.blocks;
  const int64_t most_blocks = std::max(kLeastBlocks, (blocks - 1) / (kPiecesPerThread * threads) + 1);
  for (Piece& piece : whole_) {
    if (piece.blocks <= most_blocks) {
      pieces_.push_back(piece);
      continue;
    }
    piece.partials = partials;
    const int64_t parts = (piece.blocks - 1) / most_blocks + 1;
    for (int64_t p = 0; p < parts; ++p) {
      Piece part = piece;
      const int64_t first = piece.blocks * p / parts;
      part.first_block += first;
      part.blocks = piece.blocks * (p + 1) / parts - first;
      part.partials = partials;
      partials += part.blocks * piece.tokens * group;
      pieces_.push_back(part);
    }
  }
  std::erase_if(whole_, [](const Piece& piece) { return piece.partials < 0; });
  partial_softened_.resize(partials);
  partial_values_.reserve<float>(partials * cache.padded_value());
}

void Attention::run_piece(const Piece& piece, const CpuKvCache& cache, const AttentionSpec& spec, Matrix queries,
                          Matrix out, std::byte* scratch) {
  const Rows rows(piece, cache, spec, scratch);
  const bool folds = piece.partials < 0;
  for (int64_t r = 0; r < rows.count; ++r) rows.queries[r] = queries.floats() + rows.slot_of(r) * spec.key_size;
  if (folds) begin_rows(rows, piece, spec);

  int64_t begin_before = 0, after_before = 0;
  for (int64_t block = 0; block < piece.blocks; ++block) {
    const int64_t key = (piece.first_block + block) * kKeys;
    // Tokens before `begin` do not reach these keys, and those from `after` on have passed them.
    int64_t begin = 0, after = 0;
    for (int64_t token = 0; token < piece.tokens; ++token) {
      const int64_t position = rows.position + token, row = token * rows.group;
      const int64_t first = std::clamp<int64_t>(first_key(spec, position) - key, 0, kKeys);
      const int64_t end = std::clamp<int64_t>(position + 1 - key, 0, kKeys);
      std::fill_n(rows.first + row, rows.group, first);
      std::fill_n(rows.end + row, rows.group, end);
      if (end == 0) begin += rows.group;
      if (first < kKeys) after += rows.group;
    }
    Softened* softened = rows.block_softened;
    float* values = rows.block_values;
    if (!folds) {
      const int64_t partial = piece.partials + block * rows.count;
      softened = partial_softened_.data() + partial;
      values = static_cast<float*>(partial_values_.data()) + partial * rows.width;
      std::fill_n(softened, begin, kNothing);
      std::fill_n(softened + after, rows.count - after, kNothing);
    }
    if (begin < after) {
      const bool same = begin == begin_before && after == after_before;
      attend(rows, piece, cache, spec, key, begin, after, same, softened + begin, values + begin * rows.width);
      begin_before = begin;
      after_before = after;
    }
    for (int64_t r = begin; folds && r < after; ++r)
      kernels_.fold(
          {&rows.softened[r], rows.values + r * rows.width, softened[r], values + r * rows.width, rows.width});
  }
  if (folds) end_rows(rows, spec, out);
}

void Attention::attend(const Rows& rows, const Piece& piece, const CpuKvCache& cache, const AttentionSpec& spec,
                       int64_t key, int64_t begin, int64_t after, bool same, Softened* softened, float* values) const {
  AttendTask task{.queries = rows.queries + begin,
                  .rows = after - begin,
                  .key_size = spec.key_size,
                  .number = cache.number(),
                  .values_in_keys = spec.values_in_keys,
                  .first_block = rows.first[begin] / kKvTokens,
                  .end_block = (rows.end[after - 1] - 1) / kKvTokens + 1,
                  .keys = {},
                  .values = {},
                  .key_scales = {},
                  .value_scales = {},
                  .value_stride = cache.value_stride(),
                  .scale = spec.scale,
                  .first = rows.first + begin,
                  .end = rows.end + begin,
                  .scores = rows.scores,
                  .panel = rows.panel,
                  .tiles = rows.tiles,
                  .same_queries = same,
                  .softened = softened,
                  .out = values,
                  .out_stride = rows.width,
                  .keys_ahead = {},
                  .blocks_ahead = 0};
  const int32_t* const blocks = piece.segment->blocks + key / kKvTokens;
  for (int64_t b = task.first_block; b < task.end_block; ++b) {
    const CpuKvCache::Place place = cache.place(blocks[b], piece.kv_head);
    task.keys[b] = place.keys;
    task.values[b] = place.values;
    task.key_scales[b] = place.key_scales;
    task.value_scales[b] = place.value_scales;
  }
  if (key / kKeys + 1 < piece.first_block + piece.blocks) {
    const int64_t after_it = (rows.position + piece.tokens - 1 - key) / kKvTokens + 1;
    task.blocks_ahead = std::min(kKeyBlocks, after_it - kKeyBlocks);
    for (int64_t b = 0; b < task.blocks_ahead; ++b)
      task.keys_ahead[b] = cache.place(blocks[kKeyBlocks + b], piece.kv_head).keys;
  }
  kernels_.attend(task);
}

void Attention::fold_piece(const Piece& piece, const CpuKvCache& cache, const AttentionSpec& spec, Matrix out,
                           std::byte* scratch) const {
  const Rows rows(piece, cache, spec, scratch);
  begin_rows(rows, piece, spec);
  for (int64_t block = 0; block < piece.blocks; ++block) {
    for (int64_t r = 0; r < rows.count; ++r) {
      const int64_t partial = piece.partials + block * rows.count + r;
      const Softened& softened = partial_softened_[partial];
      if (softened.sum == kNothing.sum) continue;
      const float* const values = static_cast<const float*>(partial_values_.data()) + partial * rows.width;
      kernels_.fold({&rows.softened[r], rows.values + r * rows.width, softened, values, rows.width});
    }
  }
  end_rows(rows, spec, out);
}

void Attention::begin_rows(const Rows& rows, const Piece& piece, const AttentionSpec& spec) const {
  std::fill_n(rows.values, rows.count * rows.width, 0.0f);
  for (int64_t r = 0; r < rows.count; ++r)
    rows.softened[r] =
        spec.sinks ? Softened{spec.sinks[piece.kv_head * rows.group + r % rows.group], 1} : Softened{kMinusInfinity, 0};
}

void Attention::end_rows(const Rows& rows, const AttentionSpec& spec, Matrix out) const {
  for (int64_t r = 0; r < rows.count; ++r) {
    float* const to = out.floats() + rows.slot_of(r) * spec.value_size;
    for (int64_t i = 0; i < spec.value_size; ++i) to[i] = rows.values[r * rows.width + i] / rows.softened[r].sum;
  }
}

void Attention::run(const CpuKvCache& cache, const AttentionSpec& spec, Matrix queries,
                    std::span<const Segment> segments, Matrix out, ThreadPool::Team& team,
                    const std::stop_token& stop) {
  cut(cache, spec, segments, team.threads());
  const size_t bytes = Rows::bytes(cache, spec, tokens_of_piece(spec));
  auto* const scratch = static_cast<std::byte*>(scratch_.reserve_bytes(bytes * team.threads()));
  const auto for_each = [&](const std::vector<Piece>& pieces, auto&& body) {
    team.parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) {
        if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
        body(pieces[index], scratch + bytes * ThreadPool::worker());
      }
    });
  };
  for_each(pieces_, [&](const Piece& piece, std::byte* own) { run_piece(piece, cache, spec, queries, out, own); });
  for_each(whole_, [&](const Piece& piece, std::byte* own) { fold_piece(piece, cache, spec, out, own); });
}

}  // namespace moe::cpu
