#include "cpu/decoder_stages.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/weights/packed_weights.h"
#include "cpu/grain.h"

namespace moe::cpu {
namespace {

std::vector<const WeightMatrix*> pointers_to(std::span<const WeightMatrix> matrices) {
  std::vector<const WeightMatrix*> pointers;
  for (const WeightMatrix& matrix : matrices) pointers.push_back(&matrix);
  return pointers;
}

class CpuHeads final : public PreparedHeads {
 public:
  CpuHeads(const Kernels& kernels, const LinearSpec& spec, std::span<const WeightMatrix> host, ThreadPool::Team& team)
      : name(spec.name),
        threads(spec.threads),
        matrices(kernels, held_as(asked_by(spec), pointers_to(host)), false, spec.out_features, spec.in_features) {
    const int64_t panels = matrices.num_panels();
    team.parallel_for(matrices.matrices() * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index)
        matrices.pack_panel(index / panels, index % panels, {}, host[index / panels]);
    });
  }
  // Uses what was packed where it is, as CpuExperts does.
  CpuHeads(const Kernels& kernels, const LinearSpec& spec, int32_t heads, const PackedWeights& packed)
      : name(spec.name),
        threads(spec.threads),
        memory(packed.memory),
        matrices(kernels, asked_by(spec), false, heads, spec.out_features, spec.in_features,
                 get_part(packed, spec.name)) {}
  size_t weight_bytes() const override { return matrices.bytes(); }
  std::vector<PackedPart> packed_parts() const override { return {matrices.part(name)}; }

  std::string name;
  int32_t threads;
  std::shared_ptr<const void> memory;  // of what was packed before
  PackedMatrices matrices;
};

float inverse_rms(float sum_of_squares, int64_t count, float epsilon) {
  return 1.0f / std::sqrt(sum_of_squares / static_cast<float>(count) + epsilon);
}

void rotate(const HeadsSpec& spec, const float* turns, float* head) {
  const int32_t pairs = spec.rotated / 2;
  const int32_t step = spec.interleaved ? 2 : 1, apart = spec.interleaved ? 1 : pairs;
  float* const from = head + spec.first_rotated;
  for (int32_t i = 0; i < pairs; ++i) {
    float &a = from[i * step], &b = from[i * step + apart];
    const float cosine = turns[i], sine = turns[pairs + i], x = a, y = b;
    a = x * cosine - y * sine;
    b = y * cosine + x * sine;
  }
}

}  // namespace

void CpuDecoderStages::rms_norm(Matrix in, const float* weight, float epsilon, Matrix out) {
  pool_.team().parallel_for(in.rows, grain_for(in.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* const from = in.floats() + row * in.cols;
      const float factor = inverse_rms(kernels_.sum_of_squares(from, in.cols), in.cols, epsilon);
      kernels_.scale_by(from, factor, weight, out.floats() + row * in.cols, in.cols);
    }
  });
}

void CpuDecoderStages::add_scaled(Matrix in, float factor, bool into_is_empty, Matrix into) {
  pool_.team().parallel_for(in.rows, grain_for(in.cols), [&](int64_t begin, int64_t end) {
    const float* const from = in.floats();
    float* const to = into.floats();
    for (int64_t i = begin * in.cols; i < end * in.cols; ++i)
      to[i] = into_is_empty ? factor * from[i] : to[i] + factor * from[i];
  });
}

void CpuDecoderStages::shape_heads(const HeadsSpec& spec, Matrix rotations, Matrix rows) {
  const int64_t width = static_cast<int64_t>(spec.heads) * spec.size;
  const int64_t normed = spec.norm == HeadsSpec::kWholeRow ? width : spec.normed > 0 ? spec.normed : spec.size;
  pool_.team().parallel_for(rows.rows, grain_for(width), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      float* const row = rows.floats() + token * width;
      if (spec.bias)
        for (int64_t i = 0; i < width; ++i) row[i] += spec.bias[i];
      if (spec.norm != HeadsSpec::kNone) {
        const int64_t step = spec.norm == HeadsSpec::kWholeRow ? width : spec.size;
        for (int64_t at = 0; at < width; at += step) {
          const float factor = inverse_rms(kernels_.sum_of_squares(row + at, normed), normed, spec.norm_epsilon);
          kernels_.scale_by(row + at, factor, spec.norm_weight, row + at, normed);
        }
      }
      if (spec.clip > 0)  // NaN stays
        for (int64_t i = 0; i < width; ++i)
          row[i] = row[i] > spec.clip ? spec.clip : row[i] < -spec.clip ? -spec.clip : row[i];
      if (spec.rotated > 0)
        for (int32_t head = 0; head < spec.heads; ++head)
          rotate(spec, rotations.floats() + token * spec.rotated, row + static_cast<int64_t>(head) * spec.size);
    }
  });
}

std::unique_ptr<KvCache> CpuDecoderStages::make_cache(const AttentionSpec& spec, int64_t blocks) {
  return std::make_unique<CpuKvCache>(spec, blocks);
}

void CpuDecoderStages::append(KvCache& cache, const AttentionSpec& spec, Matrix keys, Matrix values,
                              std::span<const Segment> segments) {
  auto& to = static_cast<CpuKvCache&>(cache);
  ThreadPool::Team team = pool_.team(spec.threads);
  for (const Segment& segment : segments) {
    if (segment.rows == 0) continue;
    // The tokens of a block stand together, so blocks of heads are what threads share.
    const int64_t first = segment.position / kKvBlock, end = segment.position + segment.rows;
    const int64_t blocks = (end - 1) / kKvBlock + 1 - first;
    team.parallel_for(spec.kv_heads * blocks, grain_for(kKvBlock * (spec.key_size + spec.value_size)),
                      [&](int64_t from, int64_t after) {
                        for (int64_t index = from; index < after; ++index) {
                          const auto head = static_cast<int32_t>(index / blocks);
                          const int64_t block = first + index % blocks;
                          for (int64_t position = std::max(segment.position, block * kKvBlock);
                               position < std::min(end, (block + 1) * kKvBlock); ++position) {
                            const int64_t at = (segment.first_row + position - segment.position) * spec.kv_heads + head;
                            to.put(segment.blocks[block], head, position % kKvBlock, keys.floats() + at * spec.key_size,
                                   spec.values_in_keys ? nullptr : values.floats() + at * spec.value_size);
                          }
                        }
                      });
  }
}

void CpuDecoderStages::attend(const KvCache& cache, const AttentionSpec& spec, Matrix queries,
                              std::span<const Segment> segments, Matrix out, const std::stop_token& stop) {
  ThreadPool::Team team = pool_.team(spec.threads);
  attention_.run(static_cast<const CpuKvCache&>(cache), spec, queries, segments, out, team, stop);
}

std::unique_ptr<PreparedHeads> CpuDecoderStages::prepare_heads(const LinearSpec& spec, int32_t heads,
                                                               std::span<const WeightMatrix> matrices,
                                                               const std::optional<PackedWeights>& packed) {
  if (packed) return std::make_unique<CpuHeads>(kernels_, spec, heads, *packed);
  ThreadPool::Team team = pool_.team(spec.threads);
  return std::make_unique<CpuHeads>(kernels_, spec, matrices, team);
}

void CpuDecoderStages::multiply_heads(const PreparedHeads& prepared, Matrix in, Matrix out,
                                      const std::stop_token& stop) {
  const auto& heads = static_cast<const CpuHeads&>(prepared);
  const int64_t count = heads.matrices.matrices(), depth = heads.matrices.depth(), columns = heads.matrices.columns();
  offsets_.resize(count + 1);
  slots_.resize(count * in.rows);
  for (int64_t head = 0; head <= count; ++head) offsets_[head] = static_cast<int32_t>(head * in.rows);
  for (int64_t head = 0; head < count; ++head)
    for (int64_t token = 0; token < in.rows; ++token)
      slots_[head * in.rows + token] = static_cast<int32_t>(token * count + head);

  ThreadPool::Team team = pool_.team(heads.threads);
  gemm_.set_rows({offsets_.data(), slots_.data(), 1}, count);
  float* const tiles = tiles_.reserve<float>(gemm_.num_rows() * depth);
  gemm_.gather(in.floats(), depth, tiles, team, stop);
  float* const rows = rows_.reserve<float>(gemm_.num_rows() * columns);
  gemm_.multiply(heads.matrices, tiles, {}, rows, team, stop);
  team.parallel_for(in.rows, grain_for(count * columns), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token)
      for (int64_t head = 0; head < count; ++head)
        std::copy_n(rows + (head * in.rows + token) * columns, columns,
                    out.floats() + (token * count + head) * columns);
  });
}

}  // namespace moe::cpu
