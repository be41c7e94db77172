#include "tensor.h"

#include <algorithm>

namespace ascend_sim {

int64_t product(const Shape& shape) {
  int64_t result = 1;
  for (const int64_t size : shape) result *= size;
  return result;
}

int64_t Tensor::size() const { return product(shape); }

int64_t Tensor::dim(int64_t axis) const {
  const int64_t index = axis < 0 ? axis + rank() : axis;
  return index >= 0 && index < rank() ? shape[index] : -1;
}

bool Tensor::contiguous() const {
  int64_t step = 1;
  for (int64_t axis = rank() - 1; axis >= 0; --axis) {
    if (shape[axis] != 1 && strides[axis] != step) return false;
    step *= shape[axis];
  }
  return true;
}

bool Tensor::transposed() const {
  return rank() >= 2 && !contiguous() && strides[rank() - 2] == 1 && strides[rank() - 1] >= shape[rank() - 2];
}

std::pair<int64_t, int64_t> Tensor::extent() const {
  if (size() == 0) return {offset, offset};
  if (format == kFractalNz) return {offset, offset + product(storage)};
  int64_t last = offset;
  for (int64_t axis = 0; axis < rank(); ++axis) last += (shape[axis] - 1) * strides[axis];
  return {offset, last + 1};
}

std::string text(const Shape& shape) {
  std::string result = "[";
  for (const int64_t size : shape) result += (result.size() > 1 ? ", " : "") + std::to_string(size);
  return result + "]";
}

std::string type_name(int type) {
  switch (type) {
    case kFloat:
      return "float32";
    case kFloat16:
      return "float16";
    case kBf16:
      return "bfloat16";
    case kInt8:
      return "int8";
    case kInt32:
      return "int32";
    case kInt64:
      return "int64";
    case kUint8:
      return "uint8";
    case kUint64:
      return "uint64";
    case kBool:
      return "bool";
    case kDouble:
      return "float64";
    case kInt4:
      return "int4";
    default:
      return "type " + std::to_string(type);
  }
}

int64_t nz_columns(int type) { return 32 / static_cast<int64_t>(std::max<size_t>(1, aclDataTypeSize(type))); }

Shape nz_storage(const Shape& shape, int type) {
  const int64_t columns = nz_columns(type);
  Shape storage(shape.begin(), shape.end() - 2);
  const int64_t k = shape[shape.size() - 2];
  const int64_t n = shape[shape.size() - 1];
  storage.insert(storage.end(), {(n + columns - 1) / columns, (k + 15) / 16, 16, columns});
  return storage;
}

}  // namespace ascend_sim
