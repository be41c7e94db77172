// What ggml makes of matrices: on stdin float32, on stdout the values that its own blocks of them hold, quantised as in
// published files.
//
// usage: ggml_round LIBRARY_FOLDER TYPE_NUMBER ROWS WIDTH [weighted]
// Matrices of ROWS rows follow one another. `weighted`: before each stand WIDTH numbers, how much an error counts in
// each column.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "ggml.h"

namespace {

bool read(std::vector<float>& values) {
  const size_t count = std::fread(values.data(), sizeof(float), values.size(), stdin);
  if (count != 0 && count != values.size()) throw std::runtime_error("the last matrix is cut off");
  return count != 0;
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 5 && count != 6) throw std::runtime_error("expected 4 or 5 arguments");
  const Ggml ggml(arguments[1]);
  const int type = std::atoi(arguments[2]);
  const int64_t rows = std::atoll(arguments[3]), width = std::atoll(arguments[4]);
  const char* const name = ggml.call<const char*>("ggml_type_name", type);
  if (name == nullptr) throw std::runtime_error("expected a type of ggml, got " + std::string(arguments[2]));
  std::vector<float> importance(count == 6 ? width : 0), values(rows * width);
  std::vector<char> blocks(rows * ggml.call<size_t>("ggml_row_size", type, width));
  while (importance.empty() || read(importance)) {
    if (!read(values)) {
      if (importance.empty()) break;
      throw std::runtime_error("importance without a matrix behind it");
    }
    const float* columns = importance.empty() ? nullptr : importance.data();
    ggml.call<size_t>("ggml_quantize_chunk", type, static_cast<const float*>(values.data()),
                      static_cast<void*>(blocks.data()), int64_t{0}, rows, width, columns);
    ggml.call<void>(("dequantize_row_" + std::string(name)).c_str(), static_cast<const void*>(blocks.data()),
                    values.data(), rows * width);
    if (std::fwrite(values.data(), sizeof(float), values.size(), stdout) != values.size())
      throw std::runtime_error("the values could not be written");
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "ggml_round: %s\n", error.what());
  return 1;
}
