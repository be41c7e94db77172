// Packing on all processors, while a layer is made.
#pragma once
#include <cstdint>

#include "core/function_ref.h"

namespace moe::cuda {

// How many threads pack: all processors, or at most `limit` of them where it is not 0.
int packing_threads(int32_t limit);

// body(i) for i in [0, count), on up to `threads` threads; the first exception is rethrown when all have ended.
void parallel_for(int threads, int64_t count, FunctionRef<void(int64_t)> body);

}  // namespace moe::cuda
