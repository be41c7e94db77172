// aclCreate*, aclDestroy* and what can be asked of a tensor.
#include <algorithm>
#include <cstring>

#include "../runtime/memory.h"
#include "float16.h"
#include "tensor.h"

namespace ascend_sim {
namespace {

// A function that returns a handle: null when it refuses.
template <class Body>
void* make(const char* function, Body&& body) {
  void* handle = nullptr;
  call(function, [&] { handle = add_handle(body()); });
  return handle;
}

template <class T, class Handle>
aclnnStatus destroy(const char* function, const Handle* handle) {
  if (!handle) return kSuccess;  // null is allowed
  return call(function, [&] { take<T>(handle, kInvalid); });
}

Shape shape_of(const int64_t* dims, uint64_t rank, const char* what) {
  require(dims != nullptr || rank == 0, kNullptr, std::string(what) + " is null");
  require(rank <= 8, kInvalid, std::string(what) + " has more than 8 dimensions");
  Shape shape(dims, dims + rank);
  for (const int64_t size : shape) require(size >= 0, kInvalid, std::string(what) + " " + text(shape) + " is negative");
  return shape;
}

std::shared_ptr<Tensor> create(const Shape& shape, int type, const int64_t* strides, int64_t offset, int format,
                               const Shape& storage, void* address) {
  auto tensor = std::make_shared<Tensor>();
  tensor->shape = shape;
  tensor->type = type;
  tensor->offset = offset;
  tensor->format = format;
  tensor->storage = storage;
  tensor->address = address;
  require(aclDataTypeSize(type) > 0, kInvalid, "there is no data type " + std::to_string(type) + " here");
  require(format == kND || format == kFractalNz, kInvalid,
          "the format must be ND (2) or FRACTAL_NZ (29), got " + std::to_string(format));
  tensor->strides.assign(shape.size(), 1);
  for (int64_t axis = tensor->rank() - 2; axis >= 0; --axis)
    tensor->strides[axis] = tensor->strides[axis + 1] * std::max<int64_t>(1, shape[axis + 1]);
  if (strides) tensor->strides.assign(strides, strides + shape.size());
  require(offset >= 0, kInvalid, "the offset is negative");
  for (const int64_t stride : tensor->strides) require(stride >= 0, kInvalid, "a stride is negative");
  require(reinterpret_cast<uintptr_t>(address) % 32 == 0, kInvalid,
          "the address " + hex(address) + " is not a multiple of 32");
  require(address == nullptr || place_of(address) == Place::kDevice, kInvalid,
          "the address " + hex(address) + " is host memory");
  if (format == kFractalNz) {
    require(shape.size() >= 2 && tensor->contiguous(), kInvalid,
            "a FRACTAL_NZ tensor has two or more dimensions and no strides of its own");
    require(tensor->dim(-1) != 1 && tensor->dim(-2) != 1, kInvalid, "FRACTAL_NZ needs both matrix sizes to be above 1");
    require(storage == nz_storage(shape, type), kInvalid,
            "the storage of FRACTAL_NZ " + text(shape) + " " + type_name(type) + " is " +
                text(nz_storage(shape, type)) + ", got " + text(storage));
  }
  require(tensor->size() == 0 || tensor->extent().second <= product(storage), kInvalid,
          "the view " + text(shape) + " runs past its storage " + text(storage));
  return tensor;
}

aclnnStatus give(const char* function, const aclTensor* tensor, int64_t** values, uint64_t* count,
                 Shape Tensor::*member) {
  return call(function, [&] {
    require(values != nullptr && count != nullptr, kNullptr, "an output is null");
    const Shape& shape = (*find<Tensor>(tensor, kInvalid)).*member;
    *count = shape.size();
    *values = new int64_t[shape.size()];  // the caller's, by new[]
    std::copy(shape.begin(), shape.end(), *values);
  });
}

double scalar_of(const void* value, int type) {
  const auto read = [value]<class T>(T) {
    T result;
    std::memcpy(&result, value, sizeof result);
    return result;
  };
  switch (type) {
    case kFloat:
      return read(float{});
    case kDouble:
      return read(double{});
    case kInt32:
      return read(int32_t{});
    case kInt64:
      return static_cast<double>(read(int64_t{}));
    case kBool:
    case kUint8:
      return read(uint8_t{});
    case kFloat16:
      return from_float16(read(uint16_t{}));
    case kBf16:
      return from_bfloat16(read(uint16_t{}));
    default:
      throw Fault{kInvalid, "a scalar of " + type_name(type) + " is not known here"};
  }
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclTensor* aclCreateTensor(const int64_t* view_dims, uint64_t view_rank, int type, const int64_t* strides,
                           int64_t offset, int format, const int64_t* storage_dims, uint64_t storage_rank,
                           void* address) {
  return static_cast<aclTensor*>(make("aclCreateTensor", [&] {
    return create(shape_of(view_dims, view_rank, "the view"), type, strides, offset, format,
                  shape_of(storage_dims, storage_rank, "the storage"), address);
  }));
}

aclTensorList* aclCreateTensorList(const aclTensor* const* tensors, uint64_t size) {
  return static_cast<aclTensorList*>(make("aclCreateTensorList", [&] {
    require(tensors != nullptr || size == 0, kNullptr, "the tensors are null");
    auto list = std::make_shared<TensorList>();
    for (uint64_t i = 0; i < size; ++i) {
      find<Tensor>(tensors[i], kInvalid);
      list->handles.push_back(tensors[i]);
    }
    return list;
  }));
}

aclScalar* aclCreateScalar(void* value, int type) {
  return static_cast<aclScalar*>(make("aclCreateScalar", [&] {
    require(value != nullptr, kNullptr, "the value is null");
    require(place_of(value) != Place::kDevice, kInvalid, "the value is device memory");
    auto scalar = std::make_shared<Scalar>();
    scalar->type = type;
    scalar->value = scalar_of(value, type);
    return scalar;
  }));
}

aclIntArray* aclCreateIntArray(const int64_t* values, uint64_t size) {
  return static_cast<aclIntArray*>(make("aclCreateIntArray", [&] {
    require(values != nullptr || size == 0, kNullptr, "the values are null");
    auto array = std::make_shared<IntArray>();
    array->values.assign(values, values + size);
    return array;
  }));
}

aclFloatArray* aclCreateFloatArray(const float* values, uint64_t size) {
  return static_cast<aclFloatArray*>(make("aclCreateFloatArray", [&] {
    auto array = std::make_shared<FloatArray>();
    array->values.assign(values, values + size);
    return array;
  }));
}

aclBoolArray* aclCreateBoolArray(const bool* values, uint64_t size) {
  return static_cast<aclBoolArray*>(make("aclCreateBoolArray", [&] {
    auto array = std::make_shared<BoolArray>();
    array->values.assign(values, values + size);
    return array;
  }));
}

aclnnStatus aclDestroyTensor(const aclTensor* tensor) { return destroy<Tensor>("aclDestroyTensor", tensor); }

// A list owns its members from the day it is made.
aclnnStatus aclDestroyTensorList(const aclTensorList* list) {
  if (!list) return kSuccess;
  return call("aclDestroyTensorList", [&] {
    const auto held = take<TensorList>(list, kInvalid);
    for (const aclTensor* tensor : held->handles) {
      std::string trouble;
      require(take_handle(tensor, trouble) != nullptr, kInvalid,
              "a member " + trouble + ": the list destroys its members itself");
    }
  });
}

aclnnStatus aclDestroyScalar(const aclScalar* scalar) { return destroy<Scalar>("aclDestroyScalar", scalar); }
aclnnStatus aclDestroyIntArray(const aclIntArray* array) { return destroy<IntArray>("aclDestroyIntArray", array); }
aclnnStatus aclDestroyFloatArray(const aclFloatArray* array) {
  return destroy<FloatArray>("aclDestroyFloatArray", array);
}
aclnnStatus aclDestroyBoolArray(const aclBoolArray* array) { return destroy<BoolArray>("aclDestroyBoolArray", array); }

aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** dims, uint64_t* rank) {
  return give("aclGetViewShape", tensor, dims, rank, &Tensor::shape);
}

aclnnStatus aclGetStorageShape(const aclTensor* tensor, int64_t** dims, uint64_t* rank) {
  return give("aclGetStorageShape", tensor, dims, rank, &Tensor::storage);
}

aclnnStatus aclGetViewStrides(const aclTensor* tensor, int64_t** strides, uint64_t* rank) {
  return give("aclGetViewStrides", tensor, strides, rank, &Tensor::strides);
}

aclnnStatus aclGetViewOffset(const aclTensor* tensor, int64_t* offset) {
  return call("aclGetViewOffset", [&] { *offset = find<Tensor>(tensor, kInvalid)->offset; });
}

aclnnStatus aclGetFormat(const aclTensor* tensor, int* format) {
  return call("aclGetFormat", [&] { *format = find<Tensor>(tensor, kInvalid)->format; });
}

aclnnStatus aclGetDataType(const aclTensor* tensor, int* type) {
  return call("aclGetDataType", [&] { *type = find<Tensor>(tensor, kInvalid)->type; });
}

aclnnStatus aclGetTensorListSize(const aclTensorList* list, uint64_t* size) {
  return call("aclGetTensorListSize", [&] { *size = find<TensorList>(list, kInvalid)->handles.size(); });
}

aclnnStatus aclGetIntArraySize(const aclIntArray* array, uint64_t* size) {
  return call("aclGetIntArraySize", [&] { *size = find<IntArray>(array, kInvalid)->values.size(); });
}

aclnnStatus aclGetRawTensorAddr(const aclTensor* tensor, void** address) {
  return call("aclGetRawTensorAddr", [&] { *address = find<Tensor>(tensor, kInvalid)->address; });
}

aclnnStatus aclSetRawTensorAddr(aclTensor* tensor, void* address) {
  return call("aclSetRawTensorAddr", [&] {
    require(reinterpret_cast<uintptr_t>(address) % 32 == 0, kInvalid,
            "the address " + hex(address) + " is not a multiple of 32");
    find<Tensor>(tensor, kInvalid)->address = address;
  });
}

}  // extern "C"
