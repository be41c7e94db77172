// Runs a few lines of PTX in a kernel with its registers declared, and says what they wrote.
#pragma once
#include <gtest/gtest.h>

#include <bit>
#include <cctype>
#include <string>
#include <vector>

#include "cuda/ptx/machine.h"

namespace moe::ptx::test {

inline uint32_t bits(float value) { return std::bit_cast<uint32_t>(value); }
inline float number(uint32_t value) { return std::bit_cast<float>(value); }

// The name of a test of some code: its first opcode and its number, for several cases have the same.
template <class Case>
std::string opcode_name(const testing::TestParamInfo<Case>& info) {
  std::string name(info.param.code, std::string(info.param.code).find(' '));
  for (char& letter : name)
    if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
  return name + "_" + std::to_string(info.index);
}

struct BenchOptions {
  uint32_t threads = 32, blocks = 1;
  uint32_t shared_bytes = 0;   // dynamic; its symbol is `dynamic`
  std::vector<uint32_t> in{};  // %rd1 points to it
  uint32_t out_words = 0;      // 0: one per thread of the grid
  Limits limits{};
};

// Registers: %r1 thread of the block, %r2 block, %rd1 in, %rd2 out, %rd3 the thread's word of out; %r10 and up, %rd10
// and up, %f, %d, %h (16 bits) and %p are free.
class Bench {
 public:
  using Options = BenchOptions;

  static std::string wrapped(const std::string& body) {
    return R"(
.version 8.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 dynamic[];
.visible .entry k(.param .u64 k_param_0, .param .u64 k_param_1)
{
  .reg .pred %p<20>;
  .reg .b16 %h<20>;
  .reg .b32 %r<100>;
  .reg .f32 %f<60>;
  .reg .b64 %rd<40>;
  .reg .f64 %d<20>;
  .shared .align 16 .b8 fixed[4096];
  ld.param.u64 %rd1, [k_param_0];
  ld.param.u64 %rd2, [k_param_1];
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mad.lo.s32 %r4, %r2, %r3, %r1;
  mul.wide.u32 %rd4, %r4, 4;
  add.s64 %rd3, %rd2, %rd4;
)" + body + "\n  ret;\n}\n";
  }

  // What the kernel wrote to out.
  static std::vector<uint32_t> run(const std::string& body, const Options& options = {}) {
    Bench bench(body, options);
    bench.launch();
    std::vector<uint32_t> out(bench.out_words_);
    bench.memory_.read(bench.out_, out.data(), out.size() * 4);
    return out;
  }

  // The fault the kernel ends with; fails the test where it ends well.
  static FaultKind fault(const std::string& body, const Options& options = {}) {
    try {
      Bench bench(body, options);
      bench.launch();
    } catch (const Fault& fault) {
      message() = fault.what();
      return fault.kind();
    }
    ADD_FAILURE() << "no fault";
    return FaultKind::kBadLaunch;
  }
  static std::string& message() {
    static std::string text;
    return text;
  }

  static Counters counters(const std::string& body, const Options& options = {}) {
    Bench bench(body, options);
    return bench.launch();
  }

 private:
  Bench(const std::string& body, const Options& options) : options_(options), module_(wrapped(body)) {
    out_words_ = options.out_words ? options.out_words : options.threads * options.blocks;
    in_ = memory_.allocate(options.in.size() * 4 + 4);
    out_ = memory_.allocate(out_words_ * 4);
    memory_.write(in_, options.in.data(), options.in.size() * 4);
  }

  Counters launch() {
    const Kernel& kernel = module_.kernel("k");
    Machine machine(memory_, options_.limits);
    const void* const arguments[] = {&in_, &out_};
    return machine.run(
        module_, kernel,
        {{options_.blocks}, {options_.threads}, options_.shared_bytes, pack_parameters(kernel, arguments)});
  }

  Options options_;
  Module module_;
  DeviceMemory memory_{size_t{64} << 20};
  uint64_t in_ = 0, out_ = 0;
  uint32_t out_words_ = 0;
};

}  // namespace moe::ptx::test
