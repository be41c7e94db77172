// What the simulator's tests share: a device with a stream, arrays on it, and operators called as they should be.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "abi.h"
#include "control.h"
#include "nnop/float16.h"

namespace ascend_sim {

inline std::vector<std::string> broken_rules() {
  std::vector<std::string> sentences;
  for (size_t i = 0; i < ascend_sim_violations(); ++i) sentences.emplace_back(ascend_sim_violation(i));
  return sentences;
}

inline std::string joined(const std::vector<std::string>& sentences) {
  std::string text;
  for (const std::string& sentence : sentences) text += sentence + "\n";
  return text;
}

inline void expect(int code) {
  if (code != kSuccess) {
    const char* const message = aclGetRecentErrMsg();
    ADD_FAILURE() << "returned " << code << ": " << (message ? message : "no message");
  }
}

class Lab {
 public:
  explicit Lab(const char* soc = "Ascend910B1") {
    setenv("ASCEND_SIM_DELAY_MS", "1000", 1);  // a slow machine must not start work that nobody waits for
    ascend_sim_set_soc(soc);
    ascend_sim_set_memory(size_t{1} << 30);
    ascend_sim_reset();
    aclInit(nullptr);
    expect(aclrtSetDevice(0));
    expect(aclrtCreateStream(&stream));
  }
  ~Lab() {
    aclrtSynchronizeStream(stream);
    aclrtDestroyStreamForce(stream);
    for (void* const memory : memory_) aclrtFree(memory);
    aclrtResetDevice(0);
  }
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;

  void* allocate(size_t bytes) {
    void* memory = nullptr;
    expect(aclrtMalloc(&memory, bytes, 0));
    memory_.push_back(memory);
    return memory;
  }
  void forget(void* memory) { std::erase(memory_, memory); }

  // Values on the device, in this type.
  void* upload(const std::vector<double>& values, int type) {
    const size_t width = aclDataTypeSize(type);
    std::vector<char> bytes(values.size() * width);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto put = [&](auto value) { std::memcpy(bytes.data() + i * width, &value, width); };
      switch (type) {
        case kFloat:
          put(static_cast<float>(values[i]));
          break;
        case kFloat16:
          put(to_float16(values[i]));
          break;
        case kBf16:
          put(to_bfloat16(values[i]));
          break;
        case kInt32:
          put(static_cast<int32_t>(values[i]));
          break;
        case kInt64:
          put(static_cast<int64_t>(values[i]));
          break;
        default:
          put(static_cast<int8_t>(values[i]));
      }
    }
    void* const memory = allocate(bytes.size());
    expect(aclrtMemcpy(memory, bytes.size(), bytes.data(), bytes.size(), kHostToDevice));
    return memory;
  }

  std::vector<double> download(const void* memory, size_t count, int type) {
    const size_t width = aclDataTypeSize(type);
    std::vector<char> bytes(count * width);
    expect(aclrtMemcpy(bytes.data(), bytes.size(), memory, bytes.size(), kDeviceToHost));
    std::vector<double> values(count);
    for (size_t i = 0; i < count; ++i) {
      const auto get = [&]<class T>(T value) {
        std::memcpy(&value, bytes.data() + i * width, width);
        return value;
      };
      switch (type) {
        case kFloat:
          values[i] = get(float{});
          break;
        case kFloat16:
          values[i] = from_float16(get(uint16_t{}));
          break;
        case kBf16:
          values[i] = from_bfloat16(get(uint16_t{}));
          break;
        case kInt32:
          values[i] = get(int32_t{});
          break;
        case kInt64:
          values[i] = static_cast<double>(get(int64_t{}));
          break;
        default:
          values[i] = get(int8_t{});
      }
    }
    return values;
  }

  aclrtStream stream = nullptr;

 private:
  std::vector<void*> memory_;
};

inline int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

inline aclTensor* tensor_at(void* memory, const std::vector<int64_t>& shape, int type,
                            const std::vector<int64_t>& strides = {}) {
  const int64_t storage = count_of(shape);
  return aclCreateTensor(shape.data(), shape.size(), type, strides.empty() ? nullptr : strides.data(), 0, kND, &storage,
                         1, memory);
}

// A device array with its tensor. Freed with the lab; the tensor with this.
struct Array {
  Array(Lab& lab, const std::vector<int64_t>& shape, int type, const std::vector<double>& values = {})
      : lab(lab), shape(shape), type(type) {
    const auto bytes = static_cast<size_t>(count_of(shape)) * aclDataTypeSize(type);
    if (!values.empty())
      memory = lab.upload(values, type);
    else if (bytes > 0)
      memory = lab.allocate(bytes);
    tensor = tensor_at(memory, shape, type);
  }
  ~Array() {
    if (tensor) aclDestroyTensor(tensor);
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  std::vector<double> values() const { return lab.download(memory, count_of(shape), type); }
  // A list of this one tensor, which it owns from now on.
  aclTensorList* listed() {
    const aclTensor* const member = std::exchange(tensor, nullptr);
    return aclCreateTensorList(&member, 1);
  }

  Lab& lab;
  std::vector<int64_t> shape;
  int type;
  void* memory = nullptr;
  aclTensor* tensor = nullptr;
};

// Both phases, with a workspace, and the wait for the end. The code of the first that fails.
template <class Prepare, class Run, class... Arguments>
int run(Lab& lab, Prepare prepare, Run run, Arguments... arguments) {
  uint64_t size = 0;
  aclOpExecutor* executor = nullptr;
  if (const int code = prepare(arguments..., &size, &executor); code != kSuccess) return code;
  void* const workspace = size > 0 ? lab.allocate(size) : nullptr;
  if (const int code = run(workspace, size, executor, lab.stream); code != kSuccess) return code;
  return aclrtSynchronizeStream(lab.stream);
}

#define ASCEND_SIM_RUN(lab, name, ...) ascend_sim::run(lab, name##GetWorkspaceSize, name, __VA_ARGS__)

// Numbers that repeat, in (-1, 1).
inline std::vector<double> noise(int64_t count, uint32_t seed) {
  std::vector<double> values(count);
  for (double& value : values) {
    seed = seed * 1664525 + 1013904223;
    value = static_cast<double>(seed >> 8) / (1 << 23) - 1;
  }
  return values;
}

}  // namespace ascend_sim
