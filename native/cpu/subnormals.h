// Products of bfloat16 are computed as processors with instructions for them do it: without subnormal numbers.
#pragma once
#include <cstdint>

namespace moe::cpu {

// While one lives, floats of this thread are taken for zero where they are subnormal, and results that would be are
// zero, with their sign. Code in between stands in other translation units, or the compiler may move it.
class WithoutSubnormals {
 public:
  explicit WithoutSubnormals(bool active) : before_(control()) {
    if (active) set_control(before_ | kFlush);
  }
  ~WithoutSubnormals() { set_control(before_); }
  WithoutSubnormals(const WithoutSubnormals&) = delete;
  WithoutSubnormals& operator=(const WithoutSubnormals&) = delete;

 private:
#if defined(__x86_64__)
  using Control = uint32_t;
  static constexpr Control kFlush = 0x8040;  // FTZ, DAZ
  static Control control() { return __builtin_ia32_stmxcsr(); }
  static void set_control(Control value) { __builtin_ia32_ldmxcsr(value); }
#elif defined(__aarch64__)
  using Control = uint64_t;
  static constexpr Control kFlush = uint64_t{1} << 24;  // FZ
  static Control control() {
    Control value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void set_control(Control value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#endif

  const Control before_;
};

}  // namespace moe::cpu
