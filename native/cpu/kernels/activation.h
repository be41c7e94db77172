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

// gpt-oss: both sides are clamped, the sigmoid is steeper, and up is moved by one.
inline Vec swiglu_oai(Vec gate, Vec up) {
  gate = at_least(at_most(gate, 7.0f), kLowest);
  up = at_least(at_most(up, 7.0f), -7.0f);
  return (up + broadcast(1.0f)) * (gate * sigmoid(gate * broadcast(1.702f)));
}

// `gate` is not looked at when the activation has none.
inline Vec activate(Epilogue epilogue, Vec gate, Vec up) {
  switch (epilogue) {
    case Epilogue::kSwiGLU:
      return silu(gate) * up;
    case Epilogue::kSwiGLUOai:
      return swiglu_oai(gate, up);
    case Epilogue::kGeGLU:
      return gelu(gate) * up;
    case Epilogue::kGELU:
      return gelu(up);
    case Epilogue::kGELUTanh:
      return gelu_tanh(up);
    case Epilogue::kReLU:
      return at_least(up, 0.0f);
    case Epilogue::kSiLU:
      return silu(up);
    case Epilogue::kNone:
      break;
  }
  return up;
}

inline bool has_gate(Epilogue epilogue) { return epilogue >= Epilogue::kSwiGLU && epilogue <= Epilogue::kGeGLU; }
