// What a device made of weights, as JavaScript sees it to write it down.
#pragma once
#include "addon/napi_setup.h"
#include "core/tensor.h"

namespace moe {

// { layout, parts: [{ name, byteLength }] }
Napi::Object describe_packed(Napi::Env env, const PackedWeights& packed);
// A copy of `length` bytes of a part, given by its index. Throws kShape for what is not inside it.
Napi::Value read_part(Napi::Env env, const PackedWeights& packed, const Napi::Value& part, const Napi::Value& offset,
                      const Napi::Value& length);

}  // namespace moe
