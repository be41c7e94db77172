// Arguments of operators as handles of the vendor's library that free themselves. One argument class per kind of
// parameter; each is made of what a caller has at hand.
#pragma once
#include <initializer_list>
#include <optional>
#include <type_traits>
#include <utility>

#include "ascend/array.h"
#include "ascend/cann/arguments.h"
#include "core/error.h"

namespace moe::ascend {

// Owns one handle; null where the operator is to have no such argument.
template <class T>
class Handle {
 public:
  using Free = cann::Status (*)(const T*);

  Handle() = default;
  Handle(T* handle, Free free) : handle_(handle), free_(free) {
    if (!handle) throw Error(ErrorCode::kDevice, "CANN could not make an argument of an operator");
  }
  ~Handle() {
    if (handle_) free_(handle_);
  }
  Handle(Handle&& other) noexcept : handle_(other.release()), free_(other.free_) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  Handle& operator=(Handle&&) = delete;

  T* get() const { return handle_; }
  T* release() { return std::exchange(handle_, nullptr); }

 private:
  T* handle_ = nullptr;
  Free free_ = nullptr;
};

inline Handle<cann::Tensor> make_tensor(const cann::Arguments& make, const Array& array) {
  return {make.create_tensor(array.dims.values.data(), array.dims.count, array.type, array.strides.values.data(),
                             array.offset, array.format, array.storage.values.data(), array.storage.count, array.data),
          make.destroy_tensor};
}

// How a caller's value becomes the parameter `P` of an operator. Numbers and enums pass as they are.
template <class P>
class ArgumentOf {
 public:
  ArgumentOf(const cann::Arguments&, P value) : value_(value) {}
  P get() const { return value_; }

 private:
  P value_;
};

// It is made of an Array, which may be missing, or of nullptr.
template <class P>
requires std::is_same_v<std::remove_const_t<std::remove_pointer_t<P>>, cann::Tensor>
class ArgumentOf<P> {
 public:
  ArgumentOf(const cann::Arguments& make, const std::optional<Array>& array)
      : tensor_(array ? make_tensor(make, *array) : Handle<cann::Tensor>()) {}
  ArgumentOf(const cann::Arguments&, std::nullptr_t) {}
  P get() const { return tensor_.get(); }

 private:
  Handle<cann::Tensor> tensor_;
};

// It is a list of one, made of an Array, which may be missing, or of nullptr. The list frees its tensor.
template <class P>
requires std::is_same_v<std::remove_const_t<std::remove_pointer_t<P>>, cann::TensorList>
class ArgumentOf<P> {
 public:
  ArgumentOf(const cann::Arguments& make, const std::optional<Array>& array)
      : list_(array ? make_list(make, *array) : Handle<cann::TensorList>()) {}
  ArgumentOf(const cann::Arguments&, std::nullptr_t) {}
  P get() const { return list_.get(); }

 private:
  static Handle<cann::TensorList> make_list(const cann::Arguments& make, const Array& array) {
    Handle<cann::Tensor> tensor = make_tensor(make, array);
    const cann::Tensor* const member = tensor.get();
    Handle<cann::TensorList> list(make.create_tensor_list(&member, 1), make.destroy_tensor_list);
    tensor.release();
    return list;
  }

  Handle<cann::TensorList> list_;
};

// It is made of a float.
template <>
class ArgumentOf<const cann::Scalar*> {
 public:
  ArgumentOf(const cann::Arguments& make, float value)
      : scalar_(make.create_scalar(&value, cann::DataType::kFloat32), make.destroy_scalar) {}
  const cann::Scalar* get() const { return scalar_.get(); }

 private:
  Handle<cann::Scalar> scalar_;
};

// It is made of integers, or of nullptr.
template <class P>
requires std::is_same_v<std::remove_const_t<std::remove_pointer_t<P>>, cann::IntArray>
class ArgumentOf<P> {
 public:
  ArgumentOf(const cann::Arguments& make, const Dims& values)
      : array_(make.create_int_array(values.values.data(), values.count), make.destroy_int_array) {}
  ArgumentOf(const cann::Arguments&, std::nullptr_t) {}
  P get() const { return array_.get(); }

 private:
  Handle<cann::IntArray> array_;
};

}  // namespace moe::ascend
