#include "core/device.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace moe {
namespace {

size_t bytes_of(Matrix matrix) { return static_cast<size_t>(matrix.rows * matrix.cols) * sizeof(float); }

std::vector<float> on_host(Device& device, Matrix matrix) {
  std::vector<float> values(matrix.rows * matrix.cols);
  device.download(values.data(), matrix.data, bytes_of(matrix));
  return values;
}

[[noreturn]] void refuse_columns() {
  throw Error(ErrorCode::kConfig, "Expected `modelParallel` to be 1: this device cannot hold a part of an expert yet");
}

}  // namespace

void Device::gather(Matrix in, const int32_t* index, Matrix out) {
  std::vector<int32_t> rows(out.rows);
  download(rows.data(), index, rows.size() * sizeof(int32_t));
  const std::vector<float> from = on_host(*this, in);
  synchronize();
  std::vector<float> run;  // consecutive rows that are written
  for (int64_t row = 0; row < out.rows;) {
    const int64_t first = row;
    run.clear();
    for (; row < out.rows && rows[row] >= 0; ++row)
      run.insert(run.end(), from.data() + rows[row] * in.cols, from.data() + (rows[row] + 1) * in.cols);
    if (!run.empty()) upload(out.data + first * out.cols, run.data(), run.size() * sizeof(float));
    while (row < out.rows && rows[row] < 0) ++row;
  }
}

void Device::place_columns(Matrix part, int64_t first_column, Matrix out) {
  const std::vector<float> from = on_host(*this, part);
  std::vector<float> to = on_host(*this, out);
  synchronize();
  for (int64_t row = 0; row < part.rows; ++row)
    std::copy_n(from.data() + row * part.cols, part.cols, to.data() + row * out.cols + first_column);
  upload(out.data, to.data(), bytes_of(out));
}

void Device::run_up(const PreparedLayer&, Matrix, const DispatchPlan&, Matrix, const std::stop_token&) {
  refuse_columns();
}

void Device::run_down(const PreparedLayer&, Matrix, const DispatchPlan&, Matrix, const std::stop_token&) {
  refuse_columns();
}

std::unique_ptr<Collective> Device::connect(Collective&) { return nullptr; }

}  // namespace moe
