// Float arithmetic under opcodes that integers have, too.
#pragma once
#include "cuda/ptx/decoder.h"

namespace moe::ptx {

void decode_float_unary(Decoder& decoder, Type type);    // neg, abs
void decode_float_binary(Decoder& decoder, Type type);   // add, sub, mul, div
void decode_float_ternary(Decoder& decoder, Type type);  // mad, fma
// min, max of floats
void decode_float_extreme(Decoder& decoder, Type type);

}  // namespace moe::ptx
