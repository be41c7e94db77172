// Closes the namespace and the target region that begin.h opened.
}  // namespace moe::cpu::MOE_ISA
#if defined(MOE_TARGET) && defined(__clang__)
#pragma clang attribute pop
#elif defined(MOE_TARGET)
#pragma GCC pop_options
#endif
