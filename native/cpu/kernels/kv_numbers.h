// How a cache holds numbers, and how they come from memory in time.
#pragma once

inline Vec load_numbers(const float* from) { return load(from); }
inline Vec load_numbers(const uint16_t* from) { return widen_bfloat16(from); }
inline Vec load_numbers(const int8_t* from) { return widen_int8(reinterpret_cast<const char*>(from)); }

// Calls body with a null pointer to the type of number.
template <class Body>
inline void with_numbers(KvNumber number, Body body) {
  switch (number) {
    case KvNumber::kFloat32:
      return body(static_cast<const float*>(nullptr));
    case KvNumber::kBFloat16:
      return body(static_cast<const uint16_t*>(nullptr));
    case KvNumber::kInt8:
      return body(static_cast<const int8_t*>(nullptr));
  }
}

// Numbers of a row side by side: Held::load gives kLanes words of them, Held::number the j-th numbers of all words.
template <class T>
struct SideBySide {
  using Number = T;
  using Words = Vec;
  static constexpr int kTogether = 1;
  static Words load(const T* from) { return load_numbers(from); }
  static Vec number(Words words, int) { return words; }
};

// Numbers in words of kKvWordBytes.
using Ints = int32_t __attribute__((vector_size(sizeof(Vec))));
inline Ints load_ints(const void* from) {
  Ints ints;
  __builtin_memcpy(&ints, from, sizeof ints);
  return ints;
}
template <class T>
struct InWords;
template <>
struct InWords<float> : SideBySide<float> {};
template <>
struct InWords<uint16_t> {
  using Number = uint16_t;
  using Words = Ints;
  static constexpr int kTogether = 2;
  static Words load(const uint16_t* from) { return load_ints(from); }
  static Vec number(Words words, int j) {
    return reinterpret_cast<Vec>(j == 0 ? words << 16 : words & static_cast<int32_t>(0xffff0000));
  }
};
template <>
struct InWords<int8_t> {
  using Number = int8_t;
  using Words = Ints;
  static constexpr int kTogether = 4;
  static Words load(const int8_t* from) { return load_ints(from); }
  static Vec number(Words words, int j) {
    return to_floats(reinterpret_cast<MOE_ISA::Words>((words << (24 - 8 * j)) >> 24));
  }
};

// Brings what is read later, line by line, while products are made: the prefetchers of the hardware do not know which
// block of the cache comes next. Memory gives more to a few streams side by side than to one.
class Fetcher {
 public:
  // `count` stretches of `bytes`, whole lines, each from `before` its place on; the places must outlive it.
  Fetcher(const void* const* places, int64_t count, int64_t before, int64_t bytes)
      : place_(places), end_(places + count), begin_(-before), after_(bytes - before), at_(begin_) {}
  Fetcher() : Fetcher(nullptr, 0, 0, 0) {}

  template <int Lines>
  void fetch() {
#pragma GCC unroll 8
    for (int line = 0; line < Lines; ++line) {
      if (place_ >= end_) return;
      const void* const* const place = place_ + stream_;
      if (place < end_) __builtin_prefetch(static_cast<const char*>(*place) + at_);
      if (++stream_ < kStreams) continue;
      stream_ = 0;
      at_ += kLine;
      if (at_ < after_) continue;
      at_ = begin_;
      place_ += kStreams;
    }
  }

 private:
  static constexpr int64_t kLine = 64, kStreams = 4;
  const void* const* place_;
  const void* const* end_;
  int64_t begin_, after_, at_, stream_ = 0;
};

// Lines to fetch whenever as many vectors of words are read.
template <class Held>
constexpr int lines_of(int vectors) {
  const int lines = vectors * kLanes * Held::kTogether * static_cast<int>(sizeof(typename Held::Number)) / 64;
  return lines > 1 ? lines : 1;
}

// Of a block's keys or values, scales included.
inline int64_t bytes_of_keys(const AttendTask& task) {
  const bool in_rows = task.values_in_keys;
  return kv_part_bytes(task.number, kKvTokens * (in_rows ? task.value_stride : padded_key(task.key_size)));
}
inline int64_t bytes_of_values(const AttendTask& task) {
  return kv_part_bytes(task.number, kKvTokens * task.value_stride);
}
