#include "ascend/activation.h"

#include <limits>

namespace moe::ascend {
namespace {

using cann::DataType;

constexpr int64_t kByErf = 0, kByTanh = 1, kLastDimension = -1;
// gpt-oss: both sides are clamped, the sigmoid is steeper, and up is moved by one.
constexpr float kLimit = 7.0f, kSteepness = 1.702f;

}  // namespace

void ActivationStage::run(Activation activation, const Array& x, const Array& out) {
  const int64_t rows = out.dims.values[0], width = out.dims.values[1];
  switch (activation) {
    case Activation::kSwiGLU:
      return queue_.run(operators_.swiglu, x, kLastDimension, out);
    case Activation::kSwiGLUOai:
      return swiglu_oai(x, out);
    case Activation::kGeGLU: {
      const Array gate = array_of(first_.reserve_bytes(rows * width * size_of(x.type)), x.type, {rows, width});
      queue_.run(operators_.gelu, columns_of(x, 0, width), kByErf, gate);
      return queue_.run(operators_.mul, gate, columns_of(x, width, width), out);
    }
    case Activation::kGELU:
      return queue_.run(operators_.gelu, x, kByErf, out);
    case Activation::kGELUTanh:
      return queue_.run(operators_.gelu, x, kByTanh, out);
    case Activation::kReLU:
      return queue_.run(operators_.relu, x, out);
    case Activation::kSiLU:
      return queue_.run(operators_.silu, x, out);
  }
}

// It is computed in float32, for its steps would each round.
void ActivationStage::swiglu_oai(const Array& x, const Array& out) {
  constexpr float kLowest = std::numeric_limits<float>::lowest();
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
  queue_.run(operators_.clamp, columns_of(wide, 0, width), kLowest, kLimit, first);
  queue_.run(operators_.muls, first, kSteepness, second);
  queue_.run(operators_.sigmoid, second, third);
  queue_.run(operators_.mul, first, third, second);  // the gate
  queue_.run(operators_.clamp, columns_of(wide, width, width), -kLimit, kLimit, first);
  queue_.run(operators_.adds, first, 1.0f, 1.0f, third);
  if (out.type == DataType::kFloat32) return queue_.run(operators_.mul, second, third, out);
  queue_.run(operators_.mul, second, third, first);
  queue_.run(operators_.cast, first, out.type, out);
}

int64_t ActivationStage::scratch_per_row(Activation activation, int64_t width) {
  if (activation == Activation::kSwiGLUOai) return 5 * width * size_of(DataType::kFloat32);
  return activation == Activation::kGeGLU ? width * size_of(DataType::kFloat32) : 0;
}

}  // namespace moe::ascend
