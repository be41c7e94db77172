// A device array as an operator is to see it. Nothing is owned.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <numeric>

#include "ascend/cann/types.h"

namespace moe::ascend {

constexpr int64_t size_of(cann::DataType type) {
  switch (type) {
    case cann::DataType::kInt8:
    case cann::DataType::kBool:
      return 1;
    case cann::DataType::kFloat16:
    case cann::DataType::kBFloat16:
      return 2;
    case cann::DataType::kInt64:
      return 8;
    default:
      return 4;
  }
}

// There are up to five sizes.
struct Dims {
  Dims() = default;
  Dims(std::initializer_list<int64_t> sizes) : count(static_cast<int>(sizes.size())) {
    std::copy(sizes.begin(), sizes.end(), values.begin());
  }
  int64_t product() const {
    return std::accumulate(values.begin(), values.begin() + count, INT64_C(1), std::multiplies{});
  }

  std::array<int64_t, 5> values{};
  int count = 0;
};

struct Array {
  void* data;
  cann::DataType type;
  Dims dims;
  Dims strides;  // of elements
  int64_t offset = 0;
  cann::Format format = cann::Format::kND;
  Dims storage;  // what stands in memory
};

// The array is row-major and has no gaps.
inline Array array_of(const void* data, cann::DataType type, Dims dims) {
  Dims strides = dims;
  int64_t stride = 1;
  for (int i = dims.count - 1; i >= 0; --i) {
    strides.values[i] = stride;
    stride *= dims.values[i];
  }
  return {.data = const_cast<void*>(data), .type = type, .dims = dims, .strides = strides, .storage = dims};
}

// The same at any address: operators want one that is a multiple of 32, and count what is before it as an offset.
inline Array array_at(const void* data, cann::DataType type, Dims dims) {
  const auto address = reinterpret_cast<uintptr_t>(data), aligned = address / 32 * 32;
  Array array = array_of(reinterpret_cast<const void*>(aligned), type, dims);
  array.offset = static_cast<int64_t>(address - aligned) / size_of(type);
  array.storage = {array.offset + dims.product()};
  return array;
}

// Columns [first, first + count) of a matrix.
inline Array columns_of(const Array& matrix, int64_t first, int64_t count) {
  Array part = matrix;
  part.offset += first;
  part.dims.values[1] = count;
  return part;
}

}  // namespace moe::ascend
