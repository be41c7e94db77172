// What an expert may compute, for tests of each.
#pragma once
#include <iostream>
#include <string>

#include "core/activation.h"

namespace moe::test {

constexpr Activation kGptOss{Activation::kSwiGLUOai, 1.702f, 7};

// Limits are small enough to be met by values of about 1.
constexpr Activation kEveryActivation[] = {Activation::kSwiGLU,
                                           {Activation::kSwiGLU, 0.25f},
                                           {Activation::kSwiGLU, 1, 0.5f},
                                           {Activation::kSwiGLU, 1, 0.5f, Clamp::kAfter},
                                           kGptOss,
                                           {Activation::kSwiGLUOai, 3, 0.5f, Clamp::kAfter},
                                           Activation::kGeGLU,
                                           Activation::kGeGLUTanh,
                                           Activation::kGELU,
                                           Activation::kGELUTanh,
                                           Activation::kReLU,
                                           Activation::kReLU2,
                                           Activation::kSiLU};

inline std::string name_of(const Activation& activation) {
  constexpr const char* kNames[] = {"swiglu",    "swiglu_oai", "geglu", "geglu_tanh", "gelu",
                                    "gelu_tanh", "relu",       "relu2", "silu"};
  std::string name = kNames[static_cast<int>(activation.kind)];
  const auto add = [&](const char* word, float value) {
    name += word + std::to_string(static_cast<int>(1000 * value));
  };
  if (activation.alpha != 1) add("_alpha", activation.alpha);
  if (activation.limit != Activation::kNoLimit) add("_limit", activation.limit);
  return name + (activation.clamp == Clamp::kAfter ? "_after" : "");
}

}  // namespace moe::test

namespace moe {
inline void PrintTo(const Activation& activation, std::ostream* out) { *out << test::name_of(activation); }
}  // namespace moe
