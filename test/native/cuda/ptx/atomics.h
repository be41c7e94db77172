// Atomic operations and asynchronous copies.
#pragma once
#include "cuda/ptx/decoder.h"

namespace moe::ptx {

void decode_atomic(Decoder& decoder, bool has_result);
void decode_copy(Decoder& decoder);      // cp.async and its groups
void decode_policy(Decoder& decoder);    // createpolicy: a hint
void decode_prefetch(Decoder& decoder);  // a hint

}  // namespace moe::ptx
