#include "fakes/host_decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/weights/read_weights.h"

namespace moe::test {
namespace {

// Memory that nobody has written is NaN, so that reading it shows.
struct HostCache final : KvCache {
  HostCache(const AttentionSpec& spec, int64_t blocks)
      : key_width(spec.kv_heads * spec.key_size),
        value_width(spec.kv_heads * spec.value_size),
        keys(blocks * kKvBlock * key_width, std::numeric_limits<float>::quiet_NaN()),
        values(blocks * kKvBlock * value_width, std::numeric_limits<float>::quiet_NaN()) {}
  size_t bytes() const override { return (keys.size() + values.size()) * sizeof(float); }

  int64_t key_width, value_width;
  std::vector<float> keys, values;
};

struct HostHeads final : PreparedHeads {
  size_t weight_bytes() const override { return values.size() * sizeof(float); }

  int64_t in = 0, out = 0;
  std::vector<float> values;
};

int64_t place_of(const Segment& segment, int64_t position) {
  return segment.blocks[position / kKvBlock] * kKvBlock + position % kKvBlock;
}

void norm(float* values, const float* weight, int64_t count, float epsilon) {
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) squares += static_cast<double>(values[i]) * values[i];
  const double root = std::sqrt(squares / static_cast<double>(count) + epsilon);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(values[i] / root * weight[i]);
}

void rotate(const HeadsSpec& spec, const float* rotations, float* head) {
  const int64_t pairs = spec.rotated / 2;
  float* const part = head + spec.first_rotated;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    float& x = part[spec.interleaved ? 2 * pair : pair];
    float& y = part[spec.interleaved ? 2 * pair + 1 : pair + pairs];
    const float cosine = rotations[pair], sine = rotations[pairs + pair], old = x;
    x = old * cosine - y * sine;
    y = y * cosine + old * sine;
  }
}

void stop_if_requested(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
}

}  // namespace

void HostDecoder::rms_norm(Matrix in, const float* weight, float epsilon, Matrix out) {
  if (out.data != in.data) std::copy_n(in.floats(), in.rows * in.cols, out.floats());
  for (int64_t row = 0; row < in.rows; ++row) norm(out.floats() + row * in.cols, weight, in.cols, epsilon);
}

void HostDecoder::add_scaled(Matrix in, float factor, bool into_is_empty, Matrix into) {
  for (int64_t i = 0; i < in.rows * in.cols; ++i)
    into.floats()[i] = (into_is_empty ? 0.0f : into.floats()[i]) + factor * in.floats()[i];
}

void HostDecoder::shape_heads(const HeadsSpec& spec, Matrix rotations, Matrix rows) {
  const int64_t width = int64_t{spec.heads} * spec.size;
  for (int64_t token = 0; token < rows.rows; ++token) {
    float* const row = rows.floats() + token * width;
    for (int64_t i = 0; spec.bias && i < width; ++i) row[i] += spec.bias[i];
    if (spec.norm == HeadsSpec::kWholeRow) norm(row, spec.norm_weight, width, spec.norm_epsilon);
    for (int64_t head = 0; head < spec.heads; ++head) {
      float* const of_head = row + head * spec.size;
      if (spec.norm == HeadsSpec::kEachHead)
        norm(of_head, spec.norm_weight, spec.normed > 0 ? spec.normed : spec.size, spec.norm_epsilon);
      for (int64_t i = 0; spec.clip > 0 && i < spec.size; ++i)
        of_head[i] = std::clamp(of_head[i], -spec.clip, spec.clip);
      if (spec.rotated > 0) rotate(spec, rotations.floats() + token * spec.rotated, of_head);
    }
  }
}

std::unique_ptr<KvCache> HostDecoder::make_cache(const AttentionSpec& spec, int64_t blocks) {
  return std::make_unique<HostCache>(spec, blocks);
}

void HostDecoder::append(KvCache& to, const AttentionSpec& spec, Matrix keys, Matrix values,
                         std::span<const Segment> segments) {
  auto& cache = static_cast<HostCache&>(to);
  for (const Segment& segment : segments)
    for (int64_t i = 0; i < segment.rows; ++i) {
      const int64_t place = place_of(segment, segment.position + i), row = segment.first_row + i;
      std::copy_n(keys.floats() + row * cache.key_width, cache.key_width, cache.keys.data() + place * cache.key_width);
      if (!spec.values_in_keys)
        std::copy_n(values.floats() + row * cache.value_width, cache.value_width,
                    cache.values.data() + place * cache.value_width);
    }
}

void HostDecoder::attend(const KvCache& from, const AttentionSpec& spec, Matrix queries,
                         std::span<const Segment> segments, Matrix out, const std::stop_token& stop) {
  const auto& cache = static_cast<const HostCache&>(from);
  stop_if_requested(stop);
  for (const Segment& segment : segments)
    for (int64_t row = 0; row < segment.rows; ++row) {
      const int64_t last = segment.position + row, token = segment.first_row + row;
      const int64_t first = spec.window > 0 ? std::max<int64_t>(0, last - spec.window + 1) : 0;
      for (int64_t head = 0; head < spec.heads; ++head) {
        const int64_t kv_head = head / (spec.heads / spec.kv_heads);
        const float* const query = queries.floats() + (token * spec.heads + head) * spec.key_size;
        std::vector<double> scores(last - first + 1);
        double highest = spec.sinks ? spec.sinks[head] : -std::numeric_limits<double>::infinity();
        for (int64_t position = first; position <= last; ++position) {
          const float* const key =
              cache.keys.data() + place_of(segment, position) * cache.key_width + kv_head * spec.key_size;
          double score = 0;
          for (int64_t i = 0; i < spec.key_size; ++i) score += static_cast<double>(query[i]) * key[i];
          scores[position - first] = score * spec.scale;
          highest = std::max(highest, scores[position - first]);
        }
        double total = spec.sinks ? std::exp(spec.sinks[head] - highest) : 0;
        std::vector<double> mixed(spec.value_size, 0.0);
        for (int64_t position = first; position <= last; ++position) {
          const double weight = std::exp(scores[position - first] - highest);
          total += weight;
          const int64_t place = place_of(segment, position);
          const float* const value = spec.values_in_keys
                                         ? cache.keys.data() + place * cache.key_width + kv_head * spec.key_size
                                         : cache.values.data() + place * cache.value_width + kv_head * spec.value_size;
          for (int64_t i = 0; i < spec.value_size; ++i) mixed[i] += weight * value[i];
        }
        for (int64_t i = 0; i < spec.value_size; ++i)
          out.floats()[(token * spec.heads + head) * spec.value_size + i] = static_cast<float>(mixed[i] / total);
      }
    }
}

std::unique_ptr<PreparedHeads> HostDecoder::prepare_heads(const LinearSpec& spec, int32_t,
                                                          std::span<const WeightMatrix> matrices,
                                                          const std::optional<PackedWeights>&) {
  auto heads = std::make_unique<HostHeads>();
  heads->in = spec.in_features;
  heads->out = spec.out_features;
  heads->values.resize(matrices.size() * heads->in * heads->out);
  for (size_t head = 0; head < matrices.size(); ++head)
    read_block(matrices[head], 0, heads->out, 0, heads->in, heads->values.data() + head * heads->in * heads->out);
  return heads;
}

void HostDecoder::multiply_heads(const PreparedHeads& prepared, Matrix in, Matrix out, const std::stop_token& stop) {
  const auto& heads = static_cast<const HostHeads&>(prepared);
  stop_if_requested(stop);
  const int64_t count = in.cols / heads.in;
  for (int64_t row = 0; row < in.rows * count; ++row)
    for (int64_t o = 0; o < heads.out; ++o) {
      const float* const matrix = heads.values.data() + (row % count * heads.out + o) * heads.in;
      double sum = 0;
      for (int64_t i = 0; i < heads.in; ++i) sum += static_cast<double>(matrix[i]) * in.floats()[row * heads.in + i];
      out.floats()[row * heads.out + o] = static_cast<float>(sum);
    }
}

}  // namespace moe::test
