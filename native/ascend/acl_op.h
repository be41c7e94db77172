// The two-phase call of an operator: check the arguments and ask for workspace, then put it on the stream.
#pragma once
#include <string>
#include <tuple>

#include "ascend/acl_tensor.h"
#include "ascend/npu.h"

namespace moe::ascend {

// Operators on one device's stream. They run one after another, so one workspace, as large as the largest asked for,
// serves them all.
class OperatorQueue {
 public:
  explicit OperatorQueue(Npu& device) : device_(device), workspace_(device) {}

  // Arguments are Array or nullptr for a tensor or a list, Dims or nullptr for an array of integers, float for a
  // scalar, and themselves for the rest. Throws kDeviceUnavailable where CANN lacks the operator.
  template <class... Parameters, class... Values>
  void run(const cann::Operator<Parameters...>& operation, const Values&... values) {
    static_assert(sizeof...(Parameters) == sizeof...(Values));
    device_.cann().require(operation);
    const cann::Arguments& make = device_.cann().arguments;
    // An operator may be given its arguments' descriptions until the second call has returned.
    const std::tuple<ArgumentOf<Parameters>...> arguments(ArgumentOf<Parameters>(make, values)...);
    uint64_t bytes = 0;
    cann::Executor* executor = nullptr;
    const cann::Status status = std::apply(
        [&](const auto&... argument) { return operation.prepare(argument.get()..., &bytes, &executor); }, arguments);
    if (status != cann::kSuccess) device_.check(status, (std::string(operation.name) + "GetWorkspaceSize").c_str());
    void* const workspace = reserve(bytes, executor);
    device_.mark_busy();
    device_.check(operation.run(workspace, bytes, executor, device_.stream()), operation.name);
  }

 private:
  void* reserve(uint64_t bytes, cann::Executor* executor) {
    try {
      return bytes > 0 ? workspace_.reserve_bytes(bytes) : nullptr;
    } catch (const Error&) {
      const cann::Arguments& make = device_.cann().arguments;
      if (make.set_repeatable(executor) == cann::kSuccess) make.destroy_executor(executor);
      throw;
    }
  }

  Npu& device_;
  DeviceScratch workspace_;
};

}  // namespace moe::ascend
