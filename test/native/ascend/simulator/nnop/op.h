// An operator call in two phases. Phase 1 makes an Op: it checks the arguments and keeps what phase 2 will run. Phase 2
// checks the executor, the workspace and that every argument still lives, then queues the work.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../runtime/memory.h"
#include "../runtime/profile.h"
#include "tensor.h"

namespace ascend_sim {

// A tensor argument: its number in the operator, and its description.
struct Argument {
  int index = -1;
  std::shared_ptr<const Tensor> tensor;
  bool given() const { return index >= 0; }
  const Tensor* operator->() const { return tensor.get(); }
};

using Types = std::initializer_list<int>;
inline constexpr Types kFloats = {kFloat, kFloat16, kBf16};
inline constexpr Types kIndices = {kInt32, kInt64};

class Frame;

class Op {
 public:
  explicit Op(const char* name) : name_(name) {}

  Argument in(const char* what, const aclTensor* tensor, Types types);
  Argument optional_in(const char* what, const aclTensor* tensor, Types types);
  Argument out(const char* what, const aclTensor* tensor, Types types);
  Argument optional_out(const char* what, const aclTensor* tensor, Types types);
  Argument in_out(const char* what, const aclTensor* tensor, Types types);
  std::vector<Argument> in_list(const char* what, const aclTensorList* list, Types types);  // null: empty
  std::vector<Argument> out_list(const char* what, const aclTensorList* list, Types types);

  // Refusals, all of phase 1.
  void only_on(std::initializer_list<Soc> socs) const;
  void require(bool holds, const std::string& sentence) const;  // a shape or attribute: 561002
  void shape(const Argument& argument, const Shape& expected) const;
  void nd(const Argument& argument) const;
  void same_type(const Argument& argument, const Argument& as) const;
  void not_empty(const Argument& argument) const;
  void absent(const char* what, const void* argument, const std::string& why) const;

  void workspace(uint64_t bytes) { workspace_ = bytes; }
  // An output may be the very same view as this input.
  void allow_in_place() { in_place_ = true; }
  void run(std::function<void(const Frame&)> work) { work_ = std::move(work); }

  const std::string& name() const { return name_; }

 private:
  friend class Frame;
  friend struct Executor;
  friend aclnnStatus launch(const char*, void*, uint64_t, aclOpExecutor*, aclrtStream);
  friend aclnnStatus plan_op(const char*, uint64_t*, aclOpExecutor**, const std::function<void(Op&)>&);

  struct Bound {
    std::string what;
    const aclTensor* handle;
    std::shared_ptr<Tensor> tensor;
    bool read;
    bool write;
  };

  Argument bind(const char* what, const aclTensor* tensor, Types types, bool read, bool write);
  std::string name_;
  std::vector<Bound> arguments_;
  std::vector<std::pair<std::string, const aclTensorList*>> lists_;
  uint64_t workspace_ = 0;
  bool in_place_ = false;
  std::function<void(const Frame&)> work_;
};

// The arguments while the work runs: device memory, read as numbers and written in the tensor's type.
class Frame {
 public:
  explicit Frame(const Op& op);

  // Elements in row-major order of the view.
  std::vector<double> numbers(const Argument& argument) const;
  std::vector<int64_t> integers(const Argument& argument) const;
  void store(const Argument& argument, const std::vector<double>& values) const;
  void store_integers(const Argument& argument, const std::vector<int64_t>& values) const;
  void store_first_integers(const Argument& argument, const std::vector<int64_t>& values, int64_t count) const;
  // Writes the first rows of a matrix and leaves NaN in the rest.
  void store_rows(const Argument& argument, const std::vector<double>& values, int64_t rows) const;
  void spoil(const Argument& argument) const;
  void clear(const Argument& argument) const;  // zeroes all of the storage
  // Writes a row-major matrix over itself in the fractal format.
  void store_fractal(const Argument& argument, const std::vector<double>& values) const;

  // Says what the numbers of an output mean, and what was said of an input. Empty: nothing is known.
  void note(const Argument& argument, const std::string& meaning) const;
  std::string noted(const Argument& argument) const;

  [[noreturn]] void fault(const std::string& sentence) const;
  void require(bool holds, const std::string& sentence) const {
    if (!holds) fault(sentence);
  }

 private:
  std::byte* base(const Argument& argument) const;
  std::vector<std::pair<std::shared_ptr<Block>, std::byte*>> memory_;  // where element 0 of each argument lies
};

struct Executor : Object {
  static constexpr const char* kKind = "executor";
  const char* kind() const override { return kKind; }
  std::string describe() const override { return "executor of " + op->name(); }
  std::shared_ptr<Op> op;
  bool repeatable = false;
};

aclnnStatus plan_op(const char* name, uint64_t* workspace_size, aclOpExecutor** executor,
                    const std::function<void(Op&)>& describe);
aclnnStatus launch(const char* name, void* workspace, uint64_t workspace_size, aclOpExecutor* executor,
                   aclrtStream stream);

// Host arguments.
const Scalar& scalar_of(const char* what, const aclScalar* scalar);
std::vector<int64_t> array_of(const aclIntArray* array);  // null: empty

// Rounds as a store in this type would.
double rounded(double value, int type);

}  // namespace ascend_sim

// Defines phase 2 of an operator: the same for all.
#define ASCEND_SIM_PHASE_2(name)                                                                  \
  aclnnStatus name(void* workspace, uint64_t size, aclOpExecutor* executor, aclrtStream stream) { \
    return ascend_sim::launch(#name, workspace, size, executor, stream);                          \
  }
