// Moving rows and columns on the device.
#include <numeric>

#include "core/experts/workspace.h"
#include "cuda/device/device_case.h"

namespace moe::test {
namespace {

class CudaMove : public OnDevice {
 protected:
  Matrix matrix(DeviceBuffer& buffer, const std::vector<float>& values, int64_t cols) {
    const auto rows = static_cast<int64_t>(values.size()) / cols;
    const Matrix made = float_matrix(buffer.reserve<float>(values.size()), rows, cols);
    cuda().upload(made.data, values.data(), made.bytes());
    return made;
  }
  std::vector<float> values(Matrix matrix) {
    std::vector<float> read(matrix.rows * matrix.cols);
    cuda().download(read.data(), matrix.data, matrix.bytes());
    cuda().synchronize();
    return read;
  }
};

TEST_F(CudaMove, GathersRowsAndLeavesThoseOfNoIndex) {
  for (const int64_t cols : {1, 3, 300}) {
    DeviceBuffer in(cuda()), out(cuda());
    std::vector<float> from(5 * cols), to(6 * cols, -1.0f);
    std::iota(from.begin(), from.end(), 0.0f);
    const Matrix source = matrix(in, from, cols), target = matrix(out, to, cols);
    const std::vector<int32_t> index{4, 4, -1, 0, -1, 2};
    cuda().gather(source, index, target);
    for (size_t row = 0; row < index.size(); ++row)
      if (index[row] >= 0) std::copy_n(from.begin() + index[row] * cols, cols, to.begin() + row * cols);
    EXPECT_EQ(values(target), to);
    cuda().gather(source, {}, target.part(0, 0));
  }
}

TEST_F(CudaMove, PlacesColumns) {
  DeviceBuffer in(cuda()), out(cuda());
  const Matrix part = matrix(in, {1, 2, 3, 4}, 2), whole = matrix(out, std::vector<float>(10, 0.5f), 5);
  cuda().place_columns(part, 2, whole);
  EXPECT_EQ(values(whole), (std::vector<float>{0.5f, 0.5f, 1, 2, 0.5f, 0.5f, 0.5f, 3, 4, 0.5f}));
}

}  // namespace
}  // namespace moe::test
