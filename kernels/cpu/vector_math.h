// exp, the logistic function and the normal distribution on vectors: the compiler does not vectorise libm's.
// Errors are the largest found by tests/kernels/vector_math_test.cpp, in units of the last place (ulp) of the
// float result.
#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "kernels/cpu/vector.h"

namespace heddle::cpu {

// e^x, at most 1.3 ulp (1.21 with fused multiply-add); denormal results included, 0 below -104, infinity
// above 88.73, NaN for NaN. x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts (Cody & Waite); e^r by the
// polynomial of Cephes' expf.
inline FloatVector exp(FloatVector x) {
  x = min(broadcast(89.0f), max(broadcast(-104.0f), x));  // comparisons with NaN are false: it passes both
  constexpr float kRound = 0x1.8p23f;                     // adding it leaves an integer in the low bits
  const FloatVector shifted = x * 1.44269504088896341f + kRound;
  const FloatVector n = shifted - kRound;
  const FloatVector r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  const FloatVector r2 =
      r * r;  // by halves (Estrin), not term by term: a shorter chain of dependent operations
  const FloatVector high = 1.9875691500e-4f * r + 1.3981999507e-3f,
                    middle = 8.3334519073e-3f * r + 4.1665795894e-2f;
  const FloatVector low = 1.6666665459e-1f * r + 5.0000001201e-1f;
  const FloatVector p = ((high * r2 + middle) * r2 + low) * r2 + (r + 1.0f);
#if defined(__AVX512F__)
  return _mm512_maskz_scalef_ps(kAllLanes, p, n);
#else
  // 2^n in two factors, each a normal number, although 2^n itself may be denormal or overflow.
  const IntVector exponent = std::bit_cast<IntVector>(shifted) - 0x4b400000;
  const IntVector half = exponent >> 1;
  const IntVector scale1 = (half + 127) << 23, scale2 = (exponent - half + 127) << 23;
  return p * std::bit_cast<FloatVector>(scale1) * std::bit_cast<FloatVector>(scale2);
#endif
}

// 2^x, at most 1 ulp, for the softmax, which needs it fast: x at most 127; exactly 1 at 0 and 0 below -150;
// NaN for NaN. 2^f for |f| <= 1/2 by its minimax polynomial with constant term 1 (relative error 2e-9).
inline FloatVector exp2(FloatVector x) {
  x = max(broadcast(-151.0f), x);
  constexpr float kRound = 0x1.8p23f;
  const FloatVector shifted = x + kRound, n = shifted - kRound, f = x - n;
  FloatVector p = broadcast(1.535337069e-4f);
  p = p * f + 1.339887735e-3f;
  p = p * f + 9.618436918e-3f;
  p = p * f + 5.550332367e-2f;
  p = p * f + 2.402264774e-1f;
  p = p * f + 6.931471825e-1f;
  p = p * f + 1.0f;
#if defined(__AVX512F__)
  return _mm512_maskz_scalef_ps(kAllLanes, p, n);
#else
  const IntVector exponent = std::bit_cast<IntVector>(shifted) - 0x4b400000, half = exponent >> 1;
  const IntVector scale1 = (half + 127) << 23, scale2 = (exponent - half + 127) << 23;
  return p * std::bit_cast<FloatVector>(scale1) * std::bit_cast<FloatVector>(scale2);
#endif
}

// 1 / v for v in [1, 2^100], at most 1 ulp.
inline FloatVector reciprocal(FloatVector v) {
#if defined(__AVX512F__)  // an estimate of 14 bits and one step of Newton's method: a third of the division's
                          // cost
  const FloatVector estimate = _mm512_maskz_rcp14_ps(kAllLanes, v);
  return estimate + estimate * (1.0f - v * estimate);
#else
  return 1.0f / v;
#endif
}

struct Logistic {
  FloatVector value;       // 1 / (1 + e^-x), at most 3 ulp where it is a normal number
  FloatVector complement;  // 1 - value = 1 / (1 + e^x), as exact: it does not cancel where value is nearly 1
};

inline Logistic logistic(FloatVector x) {
  const FloatVector e = exp(-abs(x));
  const FloatVector large = reciprocal(1.0f + e), small = e * large;
  return {x < 0.0f ? small : large, x < 0.0f ? large : small};
}

struct NormalDistribution {
  FloatVector cumulative;  // Phi(x) = (1 + erf(x / sqrt 2)) / 2, relative error 1e-6 for x >= -5 (and 5e-6
                           // x^2 / 25 below)
  FloatVector density;     // exp(-x^2 / 2) / sqrt(2 pi)
};

// The lower tail does not cancel as 1 + erf does: Phi(-|x|) = exp(-x^2 / 2) t P(t) with t = 1 / (1 + 0.32
// |x|), P the Chebyshev interpolation of degree 9 on (0, 1] (relative error 6.3e-8).
inline NormalDistribution normal_distribution(FloatVector x) {
  const FloatVector e = exp(-0.5f * (x * x));
  const FloatVector t = reciprocal(1.0f + 0.32f * abs(x));
  FloatVector p = broadcast(-0.02162313237104172f);
  p = p * t + 0.0979352153517084f;
  p = p * t - 0.15160769525739967f;
  p = p * t + 0.07046826142029375f;
  p = p * t - 0.012533999333429684f;
  p = p * t + 0.05979932625407737f;
  p = p * t + 0.0875935303610167f;
  p = p * t + 0.11464702820437185f;
  p = p * t + 0.12765991008962588f;
  p = p * t + 0.12766153768853988f;
  const FloatVector tail = e * (t * p);
  return {x > 0.0f ? 1.0f - tail : tail, e * 0.398942280401432678f};
}

}  // namespace heddle::cpu
