#include "ascend/activation.h"

#include <limits>
#include <utility>

namespace moe::ascend {
namespace {

using cann::DataType;

constexpr int64_t kByErf = 0, kByTanh = 1, kLastDimension = -1;

}  // namespace

void ActivationStage::run(const Activation& activation, const Array& x, const Array& out) {
  const int64_t rows = out.dims.values[0], width = out.dims.values[1];
  switch (activation.kind) {
    case Activation::kSwiGLU:
    case Activation::kSwiGLUOai:
      if (activation.is_plain_swiglu()) return queue_.run(operators_.swiglu, x, kLastDimension, out);
      return clamped_swiglu(activation.swiglu_numbers(), x, out);
    case Activation::kGeGLU:
      return geglu(kByErf, x, out);
    case Activation::kGeGLUTanh:
      return geglu(kByTanh, x, out);
    case Activation::kGELU:
      return queue_.run(operators_.gelu, x, kByErf, out);
    case Activation::kGELUTanh:
      return queue_.run(operators_.gelu, x, kByTanh, out);
    case Activation::kReLU:
      return queue_.run(operators_.relu, x, out);
    case Activation::kReLU2: {
      const Array positive = array_of(first_.reserve_bytes(rows * width * size_of(x.type)), x.type, {rows, width});
      queue_.run(operators_.relu, x, positive);
      return queue_.run(operators_.mul, positive, positive, out);
    }
    case Activation::kSiLU:
      return queue_.run(operators_.silu, x, out);
  }
}

void ActivationStage::geglu(int64_t approximation, const Array& x, const Array& out) {
  const int64_t rows = out.dims.values[0], width = out.dims.values[1];
  const Array gate = array_of(first_.reserve_bytes(rows * width * size_of(x.type)), x.type, {rows, width});
  queue_.run(operators_.gelu, columns_of(x, 0, width), approximation, gate);
  queue_.run(operators_.mul, gate, columns_of(x, width, width), out);
}

// In float32, for its steps would each round.
void ActivationStage::clamped_swiglu(const SwiGLUNumbers& by, const Array& x, const Array& out) {
  const int64_t rows = out.dims.values[0], width = out.dims.values[1];
  const auto scratch = [&](DeviceScratch& memory, int64_t columns) {
    return array_of(memory.reserve<float>(rows * columns), DataType::kFloat32, {rows, columns});
  };
  Array wide = x;
  if (x.type != DataType::kFloat32) {
    wide = scratch(wide_, 2 * width);
    queue_.run(operators_.cast, x, DataType::kFloat32, wide);
  }
  const Array first = scratch(first_, width), second = scratch(second_, width), third = scratch(third_, width);
  queue_.run(operators_.clamp, columns_of(wide, 0, width), by.lowest_gate, by.most_gate, first);
  queue_.run(operators_.muls, first, by.alpha, second);
  queue_.run(operators_.sigmoid, second, third);
  queue_.run(operators_.mul, first, third, second);
  Array gate = second, moved = third;
  if (by.most_product != Activation::kNoLimit) {
    queue_.run(operators_.clamp, gate, std::numeric_limits<float>::lowest(), by.most_product, moved);
    std::swap(gate, moved);
  }
  queue_.run(operators_.clamp, columns_of(wide, width, width), -by.most_up, by.most_up, first);
  queue_.run(operators_.adds, first, by.up_shift, 1.0f, moved);
  if (out.type == DataType::kFloat32) return queue_.run(operators_.mul, gate, moved, out);
  queue_.run(operators_.mul, gate, moved, first);
  queue_.run(operators_.cast, first, out.type, out);
}

int64_t ActivationStage::scratch_per_row(const Activation& activation, int64_t width) {
  switch (activation.kind) {
    case Activation::kSwiGLU:
    case Activation::kSwiGLUOai:
      return activation.is_plain_swiglu() ? 0 : 5 * width * size_of(DataType::kFloat32);
    case Activation::kGeGLU:
    case Activation::kGeGLUTanh:
    case Activation::kReLU2:
      return width * size_of(DataType::kFloat32);
    default:
      return 0;
  }
}

}  // namespace moe::ascend
