#include <cstring>

#include "../runtime/memory.h"
#include "float16.h"
#include "op.h"

namespace ascend_sim {
namespace {

template <class T>
T read(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <class T>
void write(std::byte* bytes, T value) {
  std::memcpy(bytes, &value, sizeof value);
}

double read_number(const std::byte* bytes, int type) {
  switch (type) {
    case kFloat:
      return read<float>(bytes);
    case kFloat16:
      return from_float16(read<uint16_t>(bytes));
    case kBf16:
      return from_bfloat16(read<uint16_t>(bytes));
    case kDouble:
      return read<double>(bytes);
    case kInt8:
      return read<int8_t>(bytes);
    case kInt32:
      return read<int32_t>(bytes);
    case kInt64:
      return static_cast<double>(read<int64_t>(bytes));
    case kUint64:
      return static_cast<double>(read<uint64_t>(bytes));
    case kUint32:
      return read<uint32_t>(bytes);
    default:
      return read<uint8_t>(bytes);
  }
}

// Integers saturate and round to nearest; how the hardware rounds is not documented.
double saturated(double value, double low, double high) {
  if (std::isnan(value)) return 0;
  return std::fmin(std::fmax(std::nearbyint(value), low), high);
}

void write_number(std::byte* bytes, int type, double value) {
  switch (type) {
    case kFloat:
      return write(bytes, static_cast<float>(value));
    case kFloat16:
      return write(bytes, to_float16(value));
    case kBf16:
      return write(bytes, to_bfloat16(value));
    case kDouble:
      return write(bytes, value);
    case kInt8:
      return write(bytes, static_cast<int8_t>(saturated(value, -128, 127)));
    case kInt32:
      return write(bytes, static_cast<int32_t>(saturated(value, -2147483648.0, 2147483647.0)));
    case kInt64:
      return write(bytes, static_cast<int64_t>(value));
    case kUint64:
      return write(bytes, static_cast<uint64_t>(value));
    default:
      return write(bytes, static_cast<uint8_t>(saturated(value, 0, 255)));
  }
}

// Where each element of the view lies, in elements from the address, in row-major order of the view.
template <class Visit>
void each_element(const Tensor& tensor, Visit&& visit) {
  const int64_t count = tensor.size();
  const int64_t rank = tensor.rank();
  Shape at(rank, 0);
  const bool fractal = tensor.format == kFractalNz;
  const int64_t columns = nz_columns(tensor.type);
  const int64_t k1 = fractal ? tensor.storage[tensor.storage.size() - 3] : 0;
  const int64_t matrix = fractal ? k1 * 16 * columns * tensor.storage[tensor.storage.size() - 4] : 0;
  for (int64_t i = 0; i < count; ++i) {
    int64_t where = tensor.offset;
    if (fractal) {
      int64_t batch = 0;
      for (int64_t axis = 0; axis < rank - 2; ++axis) batch = batch * tensor.shape[axis] + at[axis];
      const int64_t k = at[rank - 2];
      const int64_t n = at[rank - 1];
      where += batch * matrix + (n / columns * k1 + k / 16) * 16 * columns + k % 16 * columns + n % columns;
    } else {
      for (int64_t axis = 0; axis < rank; ++axis) where += at[axis] * tensor.strides[axis];
    }
    visit(i, where);
    for (int64_t axis = rank - 1; axis >= 0 && ++at[axis] == tensor.shape[axis]; --axis) at[axis] = 0;
  }
}

}  // namespace

Frame::Frame(const Op& op) {
  for (const auto& argument : op.arguments_) {
    const Tensor& tensor = *argument.tensor;
    if (tensor.size() == 0) {
      memory_.emplace_back(nullptr, nullptr);
      continue;
    }
    const auto width = static_cast<int64_t>(aclDataTypeSize(tensor.type));
    const auto [first, last] = tensor.extent();
    std::byte* const begin = static_cast<std::byte*>(tensor.address) + first * width;
    const Span span = resolve(begin, (last - first) * width, argument.what);
    if (argument.write) span.written((last - first) * width);
    memory_.emplace_back(span.block, span.bytes - first * width);
  }
}

std::byte* Frame::base(const Argument& argument) const { return memory_[argument.index].second; }

void Frame::note(const Argument& argument, const std::string& meaning) const {
  const auto& [block, bytes] = memory_[argument.index];
  if (block) block->note(bytes - block->bytes.get(), meaning);
}

std::string Frame::noted(const Argument& argument) const {
  const auto& [block, bytes] = memory_[argument.index];
  return block ? block->note_at(bytes - block->bytes.get()) : "";
}

std::vector<double> Frame::numbers(const Argument& argument) const {
  const Tensor& tensor = *argument.tensor;
  std::vector<double> values(tensor.size());
  const size_t width = aclDataTypeSize(tensor.type);
  const std::byte* const bytes = base(argument);
  each_element(tensor, [&](int64_t i, int64_t where) { values[i] = read_number(bytes + where * width, tensor.type); });
  return values;
}

std::vector<int64_t> Frame::integers(const Argument& argument) const {
  const Tensor& tensor = *argument.tensor;
  std::vector<int64_t> values(tensor.size());
  const size_t width = aclDataTypeSize(tensor.type);
  const std::byte* const bytes = base(argument);
  each_element(tensor, [&](int64_t i, int64_t where) {
    values[i] = tensor.type == kInt64 ? read<int64_t>(bytes + where * width)
                                      : static_cast<int64_t>(read_number(bytes + where * width, tensor.type));
  });
  return values;
}

void Frame::store(const Argument& argument, const std::vector<double>& values) const {
  const Tensor& tensor = *argument.tensor;
  const size_t width = aclDataTypeSize(tensor.type);
  std::byte* const bytes = base(argument);
  each_element(tensor, [&](int64_t i, int64_t where) { write_number(bytes + where * width, tensor.type, values[i]); });
}

void Frame::store_integers(const Argument& argument, const std::vector<int64_t>& values) const {
  const Tensor& tensor = *argument.tensor;
  const size_t width = aclDataTypeSize(tensor.type);
  std::byte* const bytes = base(argument);
  each_element(tensor, [&](int64_t i, int64_t where) {
    if (tensor.type == kInt64)
      write(bytes + where * width, values[i]);
    else
      write_number(bytes + where * width, tensor.type, static_cast<double>(values[i]));
  });
}

void Frame::store_first_integers(const Argument& argument, const std::vector<int64_t>& values, int64_t count) const {
  const Tensor& tensor = *argument.tensor;
  const size_t width = aclDataTypeSize(tensor.type);
  std::byte* const bytes = base(argument);
  each_element(tensor, [&](int64_t i, int64_t where) {
    if (i < count) write_number(bytes + where * width, tensor.type, static_cast<double>(values[i]));
  });
}

void Frame::store_rows(const Argument& argument, const std::vector<double>& values, int64_t rows) const {
  spoil(argument);
  const Tensor& tensor = *argument.tensor;
  const size_t width = aclDataTypeSize(tensor.type);
  const int64_t count = tensor.shape[0] == 0 ? 0 : rows * (tensor.size() / tensor.shape[0]);
  std::byte* const bytes = base(argument);
  each_element(tensor, [&](int64_t i, int64_t where) {
    if (i < count) write_number(bytes + where * width, tensor.type, values[i]);
  });
}

void Frame::spoil(const Argument& argument) const {
  const Tensor& tensor = *argument.tensor;
  const size_t width = aclDataTypeSize(tensor.type);
  std::byte* const bytes = base(argument);
  each_element(tensor, [&](int64_t, int64_t where) { poison(bytes + where * width, width); });
}

void Frame::clear(const Argument& argument) const {
  const Tensor& tensor = *argument.tensor;
  const auto [first, last] = tensor.extent();
  const auto width = static_cast<int64_t>(aclDataTypeSize(tensor.type));
  if (last > first) std::memset(base(argument) + first * width, 0, (last - first) * width);
}

void Frame::store_fractal(const Argument& argument, const std::vector<double>& values) const {
  Tensor fractal = *argument.tensor;
  fractal.format = kFractalNz;
  fractal.storage = nz_storage(fractal.shape, fractal.type);
  const auto width = static_cast<int64_t>(aclDataTypeSize(fractal.type));
  const int64_t size = product(fractal.storage) * width;
  const Span span = resolve(static_cast<std::byte*>(fractal.address) + fractal.offset * width, size, "weightRef");
  std::memset(span.bytes, 0, size);
  std::byte* const bytes = span.bytes - fractal.offset * width;
  each_element(fractal,
               [&](int64_t i, int64_t where) { write_number(bytes + where * width, fractal.type, values[i]); });
}

void Frame::fault(const std::string& sentence) const { throw Fault{kInvalid, sentence}; }

double rounded(double value, int type) {
  std::byte bytes[8];
  write_number(bytes, type, value);
  return read_number(bytes, type);
}

}  // namespace ascend_sim
