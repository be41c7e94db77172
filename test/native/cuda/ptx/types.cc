#include "cuda/ptx/types.h"

namespace moe::ptx {
namespace {

struct Entry {
  std::string_view word;
  Type type;
  int bytes;
};

constexpr Entry kTypes[] = {
    {"pred", Type::kPred, 0},  {"b8", Type::kB8, 1},     {"u8", Type::kU8, 1},       {"s8", Type::kS8, 1},
    {"b16", Type::kB16, 2},    {"u16", Type::kU16, 2},   {"s16", Type::kS16, 2},     {"f16", Type::kF16, 2},
    {"bf16", Type::kBF16, 2},  {"b32", Type::kB32, 4},   {"u32", Type::kU32, 4},     {"s32", Type::kS32, 4},
    {"f32", Type::kF32, 4},    {"tf32", Type::kTF32, 4}, {"f16x2", Type::kF16x2, 4}, {"bf16x2", Type::kBF16x2, 4},
    {"b64", Type::kB64, 8},    {"u64", Type::kU64, 8},   {"s64", Type::kS64, 8},     {"f64", Type::kF64, 8},
    {"b128", Type::kB128, 16},
};

}  // namespace

std::optional<Type> type_of(std::string_view word) {
  for (const Entry& entry : kTypes)
    if (entry.word == word) return entry.type;
  return std::nullopt;
}

int bytes_of(Type type) {
  for (const Entry& entry : kTypes)
    if (entry.type == type) return entry.bytes;
  return 0;
}

}  // namespace moe::ptx
