// cvt: between all scalar types.
#pragma once
#include "cuda/ptx/decoder.h"

namespace moe::ptx {

void decode_cvt(Decoder& decoder);

}  // namespace moe::ptx
