// Making and freeing what operators take as arguments. Exported by libnnopbase.so.
#pragma once
#include <cstdint>

#include "ascend/cann/types.h"

namespace moe::ascend::cann {

struct Arguments {
  // Strides and offset count elements; the address is a device address, a multiple of 32.
  Tensor* (*create_tensor)(const int64_t* dims, uint64_t num_dims, DataType type, const int64_t* strides,
                           int64_t offset, Format format, const int64_t* storage_dims, uint64_t num_storage_dims,
                           void* address);
  Status (*destroy_tensor)(const Tensor* tensor);
  TensorList* (*create_tensor_list)(const Tensor* const* tensors, uint64_t count);
  Status (*destroy_tensor_list)(const TensorList* list);  // and the tensors in it
  Scalar* (*create_scalar)(void* value, DataType type);
  Status (*destroy_scalar)(const Scalar* scalar);
  IntArray* (*create_int_array)(const int64_t* values, uint64_t count);
  Status (*destroy_int_array)(const IntArray* array);

  // An executor that is not to be run can be freed only once it has been made repeatable.
  Status (*set_repeatable)(Executor* executor);
  Status (*destroy_executor)(Executor* executor);

  // Calls visit(name of the symbol, function pointer) for each.
  template <class Visitor>
  void each(Visitor visit) {
    visit("aclCreateTensor", create_tensor);
    visit("aclDestroyTensor", destroy_tensor);
    visit("aclCreateTensorList", create_tensor_list);
    visit("aclDestroyTensorList", destroy_tensor_list);
    visit("aclCreateScalar", create_scalar);
    visit("aclDestroyScalar", destroy_scalar);
    visit("aclCreateIntArray", create_int_array);
    visit("aclDestroyIntArray", destroy_int_array);
    visit("aclSetAclOpExecutorRepeatable", set_repeatable);
    visit("aclDestroyAclOpExecutor", destroy_executor);
  }
};

}  // namespace moe::ascend::cann
