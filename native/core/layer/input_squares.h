// What the importance of weights is made of.
#pragma once

namespace moe {

// Sums over rows of the squares of what experts' products read, in host memory, to be added to. R is the width of the
// rows of routed experts, I and S that of an expert and of the always-on one.
struct InputSquares {
  double* tokens = nullptr;        // [E]: how many rows each expert has in the sums
  double* routed = nullptr;        // [E, R]: of gate and up, over the tokens of each expert
  double* intermediate = nullptr;  // [E, I]: of down
  double* shared = nullptr;        // [S]: of the always-on expert's down, over all tokens; null where there is none

  explicit operator bool() const { return routed != nullptr; }
};

}  // namespace moe
