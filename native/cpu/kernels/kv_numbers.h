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

// Brings what is read later, line by line, while products are made: the prefetchers of the hardware do not know which
// block of the cache comes next. Memory gives more to a few streams side by side than to one.
class Fetcher {
 public:
  // `count` stretches of as many bytes, whole lines; their places must outlive it.
  Fetcher(const void* const* places, int64_t count, int64_t bytes)
      : place_(places), end_(places + count), bytes_(bytes) {}
  Fetcher() : Fetcher(nullptr, 0, 0) {}

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
      if (at_ < bytes_) continue;
      at_ = 0;
      place_ += kStreams;
    }
  }

 private:
  static constexpr int64_t kLine = 64, kStreams = 4;
  const void* const* place_;
  const void* const* end_;
  int64_t bytes_, at_ = 0, stream_ = 0;
};

// Lines to fetch whenever as many vectors of numbers are read.
template <class T>
constexpr int lines_of(int vectors) {
  const int lines = vectors * kLanes * static_cast<int>(sizeof(T)) / 64;
  return lines > 1 ? lines : 1;
}
