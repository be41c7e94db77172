// Work on whole rows: gathering them into tiles, mixing them into tokens, scaling them.
#pragma once

// The first `count` lanes; all when there are more than that.
inline void store_part(float* to, Vec value, int64_t count) {
  if (count >= kLanes) return store(to, value);
  float lane[kLanes];
  store(lane, value);
  for (int64_t i = 0; i < count; ++i) to[i] = lane[i];
}

// Zero beyond `count`.
inline Vec load_part(const float* from, int64_t count) {
  if (count >= kLanes) return load(from);
  float lane[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) lane[i] = from[i];
  return load(lane);
}

// The columns of four rows: out[n * stride + i] = row i's n-th. Pairs of rows were zipped; every 128 bits are a quad.
template <int Quad = 0>
[[gnu::always_inline]] inline void store_columns(float* out, int64_t stride, Vec low_ab, Vec high_ab, Vec low_cd,
                                                 Vec high_cd) {
  store_quad<Quad>(out, join_low(low_ab, low_cd));
  store_quad<Quad>(out + stride, join_high(low_ab, low_cd));
  store_quad<Quad>(out + 2 * stride, join_low(high_ab, high_cd));
  store_quad<Quad>(out + 3 * stride, join_high(high_ab, high_cd));
  if constexpr (4 * (Quad + 1) < kLanes)
    store_columns<Quad + 1>(out + 4 * stride, stride, low_ab, high_ab, low_cd, high_cd);
}

// Some columns of a tile's rows, in tile form: out[n * rows + i] = row_at(i)[n] for n < columns, kLanes at most.
template <class RowAt>
[[gnu::always_inline]] inline void store_tile(RowAt row_at, int64_t rows, int64_t columns, float* out) {
  if (rows < 4 || columns < kLanes) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t n = 0; n < columns && n < kLanes; ++n) out[n * rows + i] = row_at(i)[n];
    return;
  }
  for (int64_t next = 0; next < rows; next += 4) {
    const int64_t i = next + 4 <= rows ? next : rows - 4;  // the last four may overlap those before
    const Vec a = load(row_at(i)), b = load(row_at(i + 1)), c = load(row_at(i + 2)), d = load(row_at(i + 3));
    store_columns(out + i, rows, zip_low(a, b), zip_high(a, b), zip_low(c, d), zip_high(c, d));
  }
}

inline void pack_rows(const PackTask& task) {
  const float* row[kTileRows];
  for (int64_t i = 0; i < task.rows; ++i) {
    const int64_t token = task.slot_of_row ? task.slot_of_row[i] / task.fan_out : task.first_token + i;
    row[i] = task.hidden + token * task.depth;
  }
  for (int64_t k = 0; k < task.depth; k += kLanes)
    store_tile([&](int64_t i) { return row[i] + k; }, task.rows, task.depth - k, task.tile + k * task.rows);
}

// Tiles are rounded while numbers are read as they stand: a subnormal one is rounded as any other.
inline Vec rounded_to_bfloat16(Vec x) {
  using Bits = uint32_t __attribute__((vector_size(sizeof(Vec))));
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits nan = reinterpret_cast<Bits>((bits & 0x7fffffff) > 0x7f800000);
  const Bits rounded = bits + 0x7fff + (bits >> 16 & 1);
  return reinterpret_cast<Vec>(((rounded & ~nan) | ((bits | 0x400000) & nan)) & 0xffff0000);
}

inline void round_to_bfloat16(const float* values, int64_t count, float* rounded) {
  for (int64_t i = 0; i < count; i += kLanes)
    store_part(rounded + i, rounded_to_bfloat16(load_part(values + i, count - i)), count - i);
}

inline void combine(const CombineTask& task) {
  for (int64_t t = 0; t < task.tokens; ++t) {
    const int32_t* const row_of_slot = task.row_of_slot + t * task.fan_out;
    const float* const weights = task.weights + t * task.fan_out;
    for (int64_t n = 0; n < task.columns; n += kLanes) {
      Vec sum = zero();
      for (int32_t choice = 0; choice < task.fan_out; ++choice) {
        const int64_t row = row_of_slot[choice];
        const Vec value = row < 0 ? zero() : load_part(task.rows + row * task.columns + n, task.columns - n);
        sum = fma(broadcast(weights[choice]), value, sum);
      }
      if (task.shared) sum = sum + load_part(task.shared + t * task.columns + n, task.columns - n);
      store_part(task.output + t * task.columns + n, sum, task.columns - n);
    }
  }
}

inline void scale_by_sigmoid(float* rows, const float* logits, int64_t tokens, int64_t columns) {
  for (int64_t t = 0; t < tokens; ++t) {
    const Vec scale = sigmoid(broadcast(logits[t]));
    for (int64_t n = 0; n < columns; n += kLanes) {
      float* const at = rows + t * columns + n;
      store_part(at, load_part(at, columns - n) * scale, columns - n);
    }
  }
}

inline void activate(const Epilogue& epilogue, const float* gate, const float* up, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec left = has_gate(epilogue) ? load_part(gate + i, count - i) : zero();
    store_part(out + i, activate(epilogue, left, load_part(up + i, count - i)), count - i);
  }
}
