// The activations of an expert, on one register.
#pragma once

// Every activation with a sigmoid or a normal distribution is 0 in float32 well before this: cutting here keeps
// -infinity from meeting that 0.
constexpr float kLowest = -110.0f;

inline Vec silu(Vec x) {
  x = at_least(x, kLowest);
  return x * sigmoid(x);
}

inline Vec gelu(Vec x) {
  x = at_least(x, kLowest);
  return x * normal_cdf(x);
}

// x / 2 * (1 + tanh(u)) is x * sigmoid(2 u), with u = sqrt(2 / pi) * (x + 0.044715 x^3).
inline Vec gelu_tanh(Vec x) {
  x = at_least(x, kLowest);
  return x * sigmoid(x * fma(x * x, broadcast(0.0713548163f), broadcast(1.59576912f)));
}

// Both sides may be clamped, the sigmoid be steeper, and up be moved.
inline Vec clamped_swiglu(const Epilogue& by, Vec gate, Vec up) {
  gate = at_least(at_most(gate, by.most_gate), by.lowest_gate);
  up = at_least(at_most(up, by.most_up), -by.most_up);
  const Vec product = at_most(gate * sigmoid(gate * broadcast(by.alpha)), by.most_product);
  return (up + broadcast(by.up_shift)) * product;
}

// `gate` is not looked at when the activation has none.
inline Vec activate(const Epilogue& epilogue, Vec gate, Vec up) {
  switch (epilogue.kind) {
    case Epilogue::kSwiGLU:
      return silu(gate) * up;
    case Epilogue::kClampedSwiGLU:
      return clamped_swiglu(epilogue, gate, up);
    case Epilogue::kGeGLU:
      return gelu(gate) * up;
    case Epilogue::kGeGLUTanh:
      return gelu_tanh(gate) * up;
    case Epilogue::kGELU:
      return gelu(up);
    case Epilogue::kGELUTanh:
      return gelu_tanh(up);
    case Epilogue::kReLU:
      return at_least(up, 0.0f);
    case Epilogue::kReLU2: {
      const Vec positive = at_least(up, 0.0f);
      return positive * positive;
    }
    case Epilogue::kSiLU:
      return silu(up);
    case Epilogue::kNone:
      break;
  }
  return up;
}

inline bool has_gate(const Epilogue& epilogue) {
  return epilogue.kind >= Epilogue::kSwiGLU && epilogue.kind <= Epilogue::kGeGLUTanh;
}
