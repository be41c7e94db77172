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
// block of the cache comes next.
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
      if (left_ == 0) {
        if (place_ == end_) return;
        at_ = static_cast<const char*>(*place_++);
        left_ = bytes_;
      }
      __builtin_prefetch(at_);
      at_ += kLine;
      left_ -= kLine;
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const void* const* place_;
  const void* const* end_;
  int64_t bytes_;
  const char* at_ = nullptr;
  int64_t left_ = 0;
};

// Lines to fetch whenever as many vectors of numbers are read.
template <class T>
constexpr int lines_of(int vectors) {
  const int lines = vectors * kLanes * static_cast<int>(sizeof(T)) / 64;
  return lines > 1 ? lines : 1;
}
