// Functions of a register. NaN in gives NaN out. Coefficients are minimax fits made for these forms and ranges.
#pragma once

constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits

inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// Within 2 ulp; above 88.72 infinity, below -103.97 zero, subnormal results included.
inline Vec exp(Vec x) {
  x = at_least(at_most(x, 89.0f), -105.0f);
  // x = 2n ln2 + r with |r| <= ln2. 2^n is then always a normal number, and multiplying by it twice rounds once.
  const Vec rounded = fma(x, broadcast(0.72134752f), broadcast(kRounder));
  const Vec n = rounded - broadcast(kRounder);
  Vec r = fma(n, broadcast(-1.38671875f), x);  // 2 ln2 in two parts, the first short enough for an exact product
  r = fma(n, broadcast(4.2438888e-4f), r);
  Vec p = broadcast(2.443981e-05f);
  p = fma(p, r, broadcast(0.00020110069f));
  p = fma(p, r, broadcast(0.0013893711f));
  p = fma(p, r, broadcast(0.008332526f));
  p = fma(p, r, broadcast(0.041666526f));
  p = fma(p, r, broadcast(0.16666675f));
  p = fma(p, r, broadcast(0.5f));
  p = fma(p * r, r, r) + broadcast(1.0f);
  const Vec scale = power_of_two(rounded);
  return p * scale * scale;
}

// 1 / (1 + exp(-x)), as exact for large negative x as for positive.
inline Vec sigmoid(Vec x) {
  const Vec e = exp(zero() - absolute(x));
  return where_negative(x, e, broadcast(1.0f)) / (broadcast(1.0f) + e);
}

// The normal distribution, erfc(-x / sqrt(2)) / 2, with a small relative error in the lower tail too.
inline Vec normal_cdf(Vec x) {
  const Vec z = absolute(x) * broadcast(0.70710678f);
  const Vec t = broadcast(1.0f) / fma(z, broadcast(0.45f), broadcast(1.0f));
  Vec p = broadcast(-0.020699872f);  // erfc(z) exp(z^2) / 2 as a polynomial in t
  p = fma(p, t, broadcast(0.09536272f));
  p = fma(p, t, broadcast(-0.15032539f));
  p = fma(p, t, broadcast(0.07123415f));
  p = fma(p, t, broadcast(-0.011198513f));
  p = fma(p, t, broadcast(0.059981998f));
  p = fma(p, t, broadcast(0.0876247f));
  p = fma(p, t, broadcast(0.114135966f));
  p = fma(p, t, broadcast(0.12694158f));
  p = fma(p, t, broadcast(0.12694266f));
  const Vec tail = p * t * exp(zero() - z * z);
  return where_negative(x, tail, broadcast(1.0f) - tail);
}
