// What ranks must agree on before they run a layer together.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "core/config.h"
#include "core/ranks/placement.h"

namespace moe {

// FNV-1a of `values`, behind those that `digest` stands for.
uint64_t digest_of(std::span<const int32_t> values, uint64_t digest = 0xcbf29ce484222325);

class LayerFacts {
 public:
  LayerFacts(const LayerSpec& spec, const Placement& placement, int32_t chunks, bool group_wise);

  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(values_)); }
  // Throws kConfig, naming the first difference, unless `theirs`, the bytes that `rank` sent, say the same.
  void expect_same(std::span<const std::byte> theirs, int rank, int own_rank) const;

 private:
  static constexpr size_t kCount = 18;
  std::array<int64_t, kCount> values_;
};

}  // namespace moe
