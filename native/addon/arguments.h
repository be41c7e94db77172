// JavaScript values as C++ ones. TypeScript has checked what they mean; here only what could corrupt memory is checked.
#pragma once
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "addon/mapped_file.h"
#include "addon/napi_setup.h"
#include "core/error.h"
#include "core/layer/layer.h"

namespace moe {

// Memory of a typed array, borrowed from JavaScript.
struct Borrowed {
  void* data = nullptr;
  size_t bytes = 0;
};

// Weights and the files that must stay mapped while they are read.
struct WeightArguments {
  LayerWeights weights;
  std::vector<std::shared_ptr<MappedFile>> files;
};

constexpr int64_t kMaxSize = int64_t{1} << 30;

// Throws kShape.
[[noreturn]] void refuse(const std::string& name, const std::string& expected);

double read_number(Napi::Object from, const char* name);
bool read_flag(Napi::Object from, const char* name);
std::string read_text(Napi::Object from, const char* name);

// What the word in the field stands for.
template <class Value>
Value read_word(Napi::Object from, const char* name, std::initializer_list<std::pair<const char*, Value>> values) {
  const std::string text = read_text(from, name);
  for (const auto& [word, value] : values)
    if (text == word) return value;
  throw Error(ErrorCode::kShape,
              std::string("Expected `") + name + "` to be one of the known words, got `" + text + "`");
}
DType read_dtype(Napi::Object from, const char* name);
// The weights of experts and their scales are of these types.
DType read_stored_type(Napi::Object from, const char* name);
// Throws kShape unless the number is an integer in [min, max].
int64_t read_integer(Napi::Object from, const char* name, int64_t min, int64_t max);

// An argument of a function. Throws kShape unless it is an integer from 0 to 2^53.
size_t to_size(const Napi::Value& value, const char* name);

// The typed array of this element type at `name`, with at least `count` elements; nothing where it is undefined.
// Throws kShape when it is something else, too short, or detached.
std::optional<Borrowed> read_array(Napi::Object from, const char* name, napi_typedarray_type type, size_t count);

// The bytes a view may read, from its offset on.
Borrowed read_source(Napi::Object view, std::vector<std::shared_ptr<MappedFile>>& files);
// Throws kShape for a view whose last element (count0 x count1, stride0 and stride1 apart) is outside `memory`.
void expect_inside(const char* name, const Borrowed& memory, DType dtype, int64_t count0, int64_t stride0,
                   int64_t count1, int64_t stride1);

// Of native objects' fields; `name` is in messages. Files that a view stands in are added to `files`.
WeightType read_weight_type(Napi::Object from);
RowType read_row_type(Napi::Object from);
WeightMatrix read_matrix(Napi::Object from, const char* name, std::vector<std::shared_ptr<MappedFile>>& files);
// What stands at `packed`; nothing where it is undefined.
std::optional<PackedWeights> read_packed(Napi::Object from, std::vector<std::shared_ptr<MappedFile>>& files);
WeightVector read_vector(Napi::Object from, const char* name, std::vector<std::shared_ptr<MappedFile>>& files);

LayerSpec read_spec(Napi::Object from);
WeightArguments read_weights(Napi::Object from);

}  // namespace moe
