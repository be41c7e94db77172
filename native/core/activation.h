// What an expert computes between its projections.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

namespace moe {

enum class ActivationKind : uint8_t { kSwiGLU, kSwiGLUOai, kGeGLU, kGeGLUTanh, kGELU, kGELUTanh, kReLU, kReLU2, kSiLU };

// What a limit is of: of the gate, or of the gate times its sigmoid. It always is one of up, to both sides.
enum class Clamp : uint8_t { kBefore, kAfter };

// swiglu and swiglu_oai in one formula: min(g * sigmoid(alpha * g), most_product) * (clamp(up, -most_up, most_up) +
// up_shift), where g = clamp(gate, lowest_gate, most_gate).
struct SwiGLUNumbers {
  float alpha, lowest_gate, most_gate, most_product, most_up, up_shift;
};

struct Activation {
  using enum ActivationKind;
  static constexpr float kNoLimit = std::numeric_limits<float>::infinity();

  constexpr Activation(ActivationKind kind = kSwiGLU, float alpha = 1, float limit = kNoLimit,
                       Clamp clamp = Clamp::kBefore)
      : kind(kind), alpha(alpha), limit(limit), clamp(clamp) {}

  bool operator==(const Activation&) const = default;
  // silu(gate) * up and nothing else.
  constexpr bool is_plain_swiglu() const { return kind == kSwiGLU && alpha == 1 && limit == kNoLimit; }
  constexpr SwiGLUNumbers swiglu_numbers() const {
    // Below it the sigmoid is 0 in float32: the cut keeps -infinity from meeting that 0.
    constexpr float kLowest = -110.0f;
    return {.alpha = alpha,
            .lowest_gate = std::max(kLowest / std::min(alpha, 1.0f), std::numeric_limits<float>::lowest()),
            .most_gate = clamp == Clamp::kBefore ? limit : kNoLimit,
            .most_product = clamp == Clamp::kAfter ? limit : kNoLimit,
            .most_up = limit,
            .up_shift = kind == kSwiGLUOai ? 1.0f : 0.0f};
  }

  ActivationKind kind;
  float alpha;  // this and the rest: of swiglu and swiglu_oai
  float limit;
  Clamp clamp;
};

constexpr bool is_gated(const Activation& activation) { return activation.kind <= ActivationKind::kGeGLUTanh; }

}  // namespace moe
