#include "op.h"

#include <algorithm>

#include "../runtime/context.h"
#include "../runtime/memory.h"

namespace ascend_sim {
namespace {

std::string list_of(Types types) {
  std::string names;
  for (const int type : types) names += (names.empty() ? "" : ", ") + type_name(type);
  return names;
}

}  // namespace

Argument Op::bind(const char* what, const aclTensor* tensor, Types types, bool read, bool write) {
  ascend_sim::require(tensor != nullptr, kNullptr, std::string(what) + " is null");
  auto held = find<Tensor>(tensor, kInvalid);
  ascend_sim::require(
      std::find(types.begin(), types.end(), held->type) != types.end(), kInvalid,
      std::string(what) + " must be of " + list_of(types) + " on " + family_name() + ", got " + type_name(held->type));
  ascend_sim::require(soc() != Soc::k310P || held->type != kBf16, kInvalid,
                      std::string(what) + " is bfloat16, which a 310P does not have");
  arguments_.push_back({what, tensor, held, read, write});
  return {static_cast<int>(arguments_.size()) - 1, held};
}

Argument Op::in(const char* what, const aclTensor* tensor, Types types) {
  return bind(what, tensor, types, true, false);
}

Argument Op::optional_in(const char* what, const aclTensor* tensor, Types types) {
  return tensor ? in(what, tensor, types) : Argument{};
}

Argument Op::out(const char* what, const aclTensor* tensor, Types types) {
  return bind(what, tensor, types, false, true);
}

Argument Op::optional_out(const char* what, const aclTensor* tensor, Types types) {
  return tensor ? out(what, tensor, types) : Argument{};
}

Argument Op::in_out(const char* what, const aclTensor* tensor, Types types) {
  return bind(what, tensor, types, true, true);
}

std::vector<Argument> Op::in_list(const char* what, const aclTensorList* list, Types types) {
  std::vector<Argument> arguments;
  if (!list) return arguments;
  lists_.emplace_back(what, list);
  const auto held = find<TensorList>(list, kInvalid);
  for (const aclTensor* tensor : held->handles) arguments.push_back(in(what, tensor, types));
  return arguments;
}

std::vector<Argument> Op::out_list(const char* what, const aclTensorList* list, Types types) {
  std::vector<Argument> arguments;
  if (!list) return arguments;
  lists_.emplace_back(what, list);
  const auto held = find<TensorList>(list, kInvalid);
  for (const aclTensor* tensor : held->handles) arguments.push_back(out(what, tensor, types));
  return arguments;
}

void Op::only_on(std::initializer_list<Soc> socs) const {
  ascend_sim::require(std::find(socs.begin(), socs.end(), soc()) != socs.end(), kFindKernel,
                      "the operator does not exist on " + family_name());
}

void Op::require(bool holds, const std::string& sentence) const { ascend_sim::require(holds, kTiling, sentence); }

void Op::shape(const Argument& argument, const Shape& expected) const {
  if (!argument.given()) return;
  require(argument->shape == expected,
          arguments_[argument.index].what + " must have shape " + text(expected) + ", got " + text(argument->shape));
}

void Op::nd(const Argument& argument) const {
  if (argument.given()) require(argument->format == kND, arguments_[argument.index].what + " must be of format ND");
}

void Op::same_type(const Argument& argument, const Argument& as) const {
  if (!argument.given()) return;
  ascend_sim::require(argument->type == as->type, kInvalid,
                      arguments_[argument.index].what + " must be of " + type_name(as->type) + " as " +
                          arguments_[as.index].what + ", got " + type_name(argument->type));
}

void Op::not_empty(const Argument& argument) const {
  if (argument.given())
    require(argument->size() > 0, arguments_[argument.index].what + " is empty: " + text(argument->shape) +
                                      ", which is not documented to work");
}

void Op::absent(const char* what, const void* argument, const std::string& why) const {
  ascend_sim::require(argument == nullptr, kInvalid, std::string(what) + " must be null: " + why);
}

const Scalar& scalar_of(const char* what, const aclScalar* scalar) {
  ascend_sim::require(scalar != nullptr, kNullptr, std::string(what) + " is null");
  return *find<Scalar>(scalar, kInvalid);
}

std::vector<int64_t> array_of(const aclIntArray* array) {
  return array ? find<IntArray>(array, kInvalid)->values : std::vector<int64_t>();
}

aclnnStatus plan_op(const char* name, uint64_t* workspace_size, aclOpExecutor** executor,
                    const std::function<void(Op&)>& describe) {
  return call((std::string(name) + "GetWorkspaceSize").c_str(), [&] {
    require(workspace_size != nullptr, kNullptr, "workspaceSize is null");
    require(executor != nullptr, kNullptr, "executor is null");
    current_context();
    auto op = std::make_shared<Op>(name);
    describe(*op);
    for (const auto& argument : op->arguments_) {
      const Tensor& tensor = *argument.tensor;
      require(tensor.address != nullptr || tensor.size() == 0, kInvalid, argument.what + " has no memory");
    }
    auto made = std::make_shared<Executor>();
    made->op = op;
    *workspace_size = op->workspace_;
    *executor = static_cast<aclOpExecutor*>(add_handle(made));
  });
}

namespace {

Access range_of(const Tensor& tensor, const std::string& what, bool write) {
  const auto [first, last] = tensor.extent();
  const auto width = static_cast<int64_t>(aclDataTypeSize(tensor.type));
  const auto base = reinterpret_cast<uintptr_t>(tensor.address);
  return {base + first * width, base + last * width, write, what};
}

bool same_view(const Tensor& a, const Tensor& b) {
  return a.address == b.address && a.offset == b.offset && a.shape == b.shape && a.strides == b.strides &&
         a.type == b.type;
}

}  // namespace

aclnnStatus launch(const char* name, void* workspace, uint64_t workspace_size, aclOpExecutor* executor,
                   aclrtStream handle) {
  // A call ends its executor, whatever comes of it.
  std::string trouble;
  const auto object = find_handle(executor, trouble);
  const auto held = std::dynamic_pointer_cast<Executor>(object);
  if (held && !held->repeatable) take_handle(executor, trouble);
  return call(name, [&] {
    require(executor != nullptr, kNullptr, "the executor is null");
    const auto op = cast_handle<Executor>(object, kExecutor, trouble)->op;
    require(op->name() == name, kExecutor, "the executor was made by " + op->name() + "GetWorkspaceSize");
    require(workspace != nullptr || op->workspace_ == 0, kNullptr, "the workspace is null");
    require(workspace_size == op->workspace_, kInvalid,
            "the workspace must be of the " + std::to_string(op->workspace_) + " bytes that were asked for, got " +
                std::to_string(workspace_size));
    const auto stream = stream_here(handle);

    // The tensors and lists of phase 1 must live until here, and may go as soon as this returns.
    for (const auto& [what, list] : op->lists_) find<TensorList>(list, kInvalid);
    auto bound = std::make_shared<Op>(*op);  // addresses as they are now
    std::vector<Access> accesses;
    for (auto& argument : bound->arguments_) {
      std::string trouble;
      require(find_handle(argument.handle, trouble) != nullptr, kInvalid,
              "the tensor of " + argument.what + " " + trouble + ", between the two phases");
      argument.tensor = std::make_shared<Tensor>(*argument.tensor);
      if (argument.tensor->size() == 0) continue;
      const Access access = range_of(*argument.tensor, argument.what, argument.write);
      const auto block = block_of(reinterpret_cast<void*>(access.begin), access.end - access.begin, argument.what);
      require(block->device == stream->device, kInvalid,
              argument.what + " lies on device " + std::to_string(block->device) + ", the stream on " +
                  std::to_string(stream->device));
      accesses.push_back(access);
    }
    for (size_t i = 0; i < bound->arguments_.size(); ++i)
      for (size_t j = 0; j < bound->arguments_.size(); ++j) {
        const auto& written = bound->arguments_[i];
        const auto& other = bound->arguments_[j];
        if (i == j || !written.write || written.tensor->size() == 0 || other.tensor->size() == 0) continue;
        const Access a = range_of(*written.tensor, written.what, true);
        const Access b = range_of(*other.tensor, other.what, other.write);
        const bool allowed = op->in_place_ && !other.write && same_view(*written.tensor, *other.tensor);
        require(allowed || a.end <= b.begin || b.end <= a.begin, kInvalid,
                written.what + " and " + other.what + " overlap");
      }
    if (op->workspace_ > 0) {
      const auto begin = reinterpret_cast<uintptr_t>(workspace);
      const Access scratch{begin, begin + workspace_size, true, "the workspace"};
      require(begin % 32 == 0, kInvalid, "the workspace is not aligned to 32 bytes");
      require(block_of(workspace, workspace_size, "the workspace")->device == stream->device, kInvalid,
              "the workspace lies on another device");
      for (const Access& access : accesses)
        require(access.end <= scratch.begin || scratch.end <= access.begin, kInvalid,
                "the workspace and " + access.what + " overlap");
      accesses.push_back(scratch);
    }
    enqueue(*stream, name, std::move(accesses), [bound, workspace, workspace_size] {
      if (workspace_size > 0) {  // every byte of it is used
        const Span span = resolve(workspace, workspace_size, "the workspace");
        poison(span.bytes, workspace_size);
      }
      const Frame frame(*bound);
      bound->work_(frame);
    });
  });
}

}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclSetAclOpExecutorRepeatable(aclOpExecutor* executor) {
  return call("aclSetAclOpExecutorRepeatable", [&] { find<Executor>(executor, kExecutor)->repeatable = true; });
}

aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor) {
  return call("aclDestroyAclOpExecutor", [&] {
    require(find<Executor>(executor, kExecutor)->repeatable, kInvalid,
            "only an executor that was made repeatable is destroyed by hand");
    take<Executor>(executor, kExecutor);
  });
}

static aclnnStatus set_address(const char* function, aclOpExecutor* executor, aclTensor* tensor, void* address) {
  return call(function, [&] {
    find<Executor>(executor, kExecutor);
    require(reinterpret_cast<uintptr_t>(address) % 32 == 0, kInvalid, "the address is not a multiple of 32");
    find<Tensor>(tensor, kInvalid)->address = address;
  });
}

aclnnStatus aclSetTensorAddr(aclOpExecutor* executor, size_t, aclTensor* tensor, void* address) {
  return set_address("aclSetTensorAddr", executor, tensor, address);
}

aclnnStatus aclSetInputTensorAddr(aclOpExecutor* executor, size_t, aclTensor* tensor, void* address) {
  return set_address("aclSetInputTensorAddr", executor, tensor, address);
}

aclnnStatus aclSetOutputTensorAddr(aclOpExecutor* executor, size_t, aclTensor* tensor, void* address) {
  return set_address("aclSetOutputTensorAddr", executor, tensor, address);
}

aclnnStatus aclnnInit(const char*) { return kSuccess; }
aclnnStatus aclnnFinalize() { return kSuccess; }

}  // extern "C"
