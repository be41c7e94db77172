// Shifts as PTX defines them.
#pragma once
#include <cstdint>
#include <type_traits>

namespace moe::ptx {

// Amounts beyond the width shift everything out.
struct Shl {
  template <class T>
  static T apply(T a, uint32_t by) {
    return by >= 8 * sizeof(T) ? T{0} : static_cast<T>(uint64_t(a) << by);
  }
};
struct Shr {
  template <class T>
  static T apply(T a, uint32_t by) {
    constexpr uint32_t kBits = 8 * sizeof(T);
    if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> (by >= kBits ? kBits - 1 : by));
    return by >= kBits ? T{0} : static_cast<T>(a >> by);
  }
};

}  // namespace moe::ptx
