// What aclCreate* makes: descriptions of device memory, and host values an operator takes.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "../runtime/handles.h"

namespace ascend_sim {

using Shape = std::vector<int64_t>;

struct Tensor : Object {
  static constexpr const char* kKind = "tensor";
  const char* kind() const override { return kKind; }

  Shape shape;    // as the operator sees it
  Shape strides;  // in elements
  int64_t offset = 0;
  int type = 0;
  int format = 2;
  Shape storage;
  void* address = nullptr;

  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  int64_t size() const;             // elements
  int64_t dim(int64_t axis) const;  // negative counts from the end
  bool contiguous() const;
  bool transposed() const;                     // the last two dimensions, by strides
  std::pair<int64_t, int64_t> extent() const;  // first and one past the last element touched, in elements
};

struct TensorList : Object {
  static constexpr const char* kKind = "tensor list";
  const char* kind() const override { return kKind; }
  std::vector<const aclTensor*> handles;
};

struct Scalar : Object {
  static constexpr const char* kKind = "scalar";
  const char* kind() const override { return kKind; }
  double value = 0;
  int type = 0;
};

struct IntArray : Object {
  static constexpr const char* kKind = "int array";
  const char* kind() const override { return kKind; }
  std::vector<int64_t> values;
};

struct FloatArray : Object {
  static constexpr const char* kKind = "float array";
  const char* kind() const override { return kKind; }
  std::vector<float> values;
};

struct BoolArray : Object {
  static constexpr const char* kKind = "bool array";
  const char* kind() const override { return kKind; }
  std::vector<bool> values;
};

std::string text(const Shape& shape);
std::string type_name(int type);
int64_t product(const Shape& shape);
// Elements of a 32-byte row of the fractal format: 16 for 16-bit types, 32 for int8, 8 for float32.
int64_t nz_columns(int type);
// [..., K, N] as it lies in the fractal format: [..., ceil(N / N0), ceil(K / 16), 16, N0].
Shape nz_storage(const Shape& shape, int type);

}  // namespace ascend_sim
