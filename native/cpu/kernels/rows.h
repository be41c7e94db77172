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

inline void pack_rows(const PackTask& task) {
  constexpr int64_t kBlock = 128;  // what a block touches of the tile stays in L1
  for (int64_t block = 0; block < task.depth; block += kBlock) {
    const int64_t end = block + kBlock < task.depth ? block + kBlock : task.depth;
    for (int64_t i = 0; i < task.rows; ++i) {
      const int64_t token = task.slot_of_row ? task.slot_of_row[i] / task.fan_out : task.first_token + i;
      const float* const row = task.hidden + token * task.depth;
      for (int64_t k = block; k < end; ++k) task.tile[k * task.rows + i] = row[k];
    }
  }
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

inline void activate(Epilogue epilogue, const float* gate, const float* up, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec left = has_gate(epilogue) ? load_part(gate + i, count - i) : zero();
    store_part(out + i, activate(epilogue, left, load_part(up + i, count - i)), count - i);
  }
}
