// Moving rows and columns on the device.
#include "ascend/device.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "ascend/backend/simulator.h"
#include "core/experts/workspace.h"

namespace moe::ascend {
namespace {

class AscendDeviceTest : public testing::Test {
 protected:
  Matrix matrix(DeviceBuffer& buffer, const std::vector<float>& values, int64_t cols) {
    const Matrix made = float_matrix(buffer.reserve<float>(values.size()), values.size() / cols, cols);
    npu_.upload(made.data, values.data(), made.bytes());
    return made;
  }
  std::vector<float> values(Matrix matrix) {
    std::vector<float> read(matrix.rows * matrix.cols);
    npu_.download(read.data(), matrix.data, matrix.bytes());
    npu_.synchronize();
    return read;
  }

  AscendDevice npu_{0};
  DeviceBuffer in_{npu_}, out_{npu_};
};

TEST_F(AscendDeviceTest, GathersRowsAndLeavesThoseOfNoIndex) {
  std::vector<float> from(15), to(18, -1.0f);
  std::iota(from.begin(), from.end(), 0.0f);
  const Matrix in = matrix(in_, from, 3), out = matrix(out_, to, 3);
  const std::vector<int32_t> index{4, 4, -1, 0, -1, 2};
  npu_.gather(in, index, out);
  for (size_t row = 0; row < index.size(); ++row)
    for (int64_t i = 0; i < 3; ++i)
      if (index[row] >= 0) to[row * 3 + i] = from[index[row] * 3 + i];
  EXPECT_EQ(values(out), to);
  npu_.gather(in, std::vector<int32_t>{1}, out.part(5, 1));  // at an address that is aligned to nothing
  std::copy_n(from.begin() + 3, 3, to.begin() + 15);
  EXPECT_EQ(values(out), to);
  npu_.gather(in, {}, out.part(0, 0));
}

TEST_F(AscendDeviceTest, PlacesColumns) {
  const Matrix part = matrix(in_, {1, 2, 3, 4}, 2), out = matrix(out_, std::vector<float>(10, 0.5f), 5);
  npu_.place_columns(part, 2, out);
  EXPECT_EQ(values(out), (std::vector<float>{0.5f, 0.5f, 1, 2, 0.5f, 0.5f, 0.5f, 3, 4, 0.5f}));
}

}  // namespace
}  // namespace moe::ascend
