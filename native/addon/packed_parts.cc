#include "addon/packed_parts.h"

#include <cstring>
#include <string>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "core/error.h"

namespace moe {

Napi::Object describe_packed(Napi::Env env, const PackedWeights& packed) {
  const Napi::Object object = Napi::Object::New(env);
  object.Set("layout", packed.layout);
  object.Set("parts", list_of(env, packed.parts, [env](const PackedPart& part) {
               const Napi::Object entry = Napi::Object::New(env);
               entry.Set("name", part.name);
               entry.Set("byteLength", static_cast<double>(part.bytes));
               return entry;
             }));
  return object;
}

Napi::Value read_part(Napi::Env env, const PackedWeights& packed, const Napi::Value& part, const Napi::Value& offset,
                      const Napi::Value& length) {
  const size_t index = to_size(part, "part"), begin = to_size(offset, "offset"), count = to_size(length, "length");
  if (index >= packed.parts.size()) throw Error(ErrorCode::kShape, "Expected `part` to be the index of a part");
  const PackedPart& from = packed.parts[index];
  if (begin > from.bytes || count > from.bytes - begin)
    throw Error(ErrorCode::kShape, "Expected bytes inside the part of " + std::to_string(from.bytes) + " bytes");
  Napi::Uint8Array bytes = Napi::Uint8Array::New(env, count);
  if (count > 0) std::memcpy(bytes.Data(), static_cast<const std::byte*>(from.data) + begin, count);
  return bytes;
}

}  // namespace moe
