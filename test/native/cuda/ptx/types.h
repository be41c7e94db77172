// The scalar types of PTX.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace moe::ptx {

enum class Type : uint8_t {
  kPred,
  kB8,
  kU8,
  kS8,
  kB16,
  kU16,
  kS16,
  kF16,
  kBF16,
  kB32,
  kU32,
  kS32,
  kF32,
  kTF32,
  kF16x2,
  kBF16x2,
  kB64,
  kU64,
  kS64,
  kF64,
  kB128,
};

// "u32" -> kU32. Nothing for a word that is no type.
std::optional<Type> type_of(std::string_view word);

// Bytes of a value in memory; 0 for a predicate.
int bytes_of(Type type);

inline bool is_signed(Type type) {
  return type == Type::kS8 || type == Type::kS16 || type == Type::kS32 || type == Type::kS64;
}
inline bool is_float(Type type) {
  return type == Type::kF16 || type == Type::kBF16 || type == Type::kF32 || type == Type::kTF32 ||
         type == Type::kF16x2 || type == Type::kBF16x2 || type == Type::kF64;
}

}  // namespace moe::ptx
