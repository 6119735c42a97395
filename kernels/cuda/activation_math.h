// The activation functions on a GPU, value and slope together: what is not used is not computed. T is the
// type that the result is rounded to: float takes the exact functions, bf16 approximations whose error is
// small against its rounding.
#pragma once

#include <cmath>
#include <type_traits>

#include "kernels/cuda/ptx.h"
#include "kernels/ops.h"

namespace heddle::cuda {

struct ValueAndSlope {
  float value, slope;
};

template <typename T>
constexpr bool kExactMath = std::is_same_v<T, float>;

template <typename T>
__device__ __forceinline__ float exponential(float x) {
  constexpr float kLog2E = 1.44269504088896340736f;
  return kExactMath<T> ? expf(x) : exp2_approx(x * kLog2E);
}

template <typename T>
__device__ __forceinline__ float reciprocal(float x) {
  return kExactMath<T> ? 1.0f / x : reciprocal_approx(x);
}

// 1 / (1 + exp(-x)) and 1 / (1 + exp(x)), neither as a difference from 1.
struct LogisticPair {
  float value, complement;
};
template <typename T>
__device__ __forceinline__ LogisticPair logistic(float x) {
  const float decay = exponential<T>(-fabsf(x));  // at most 1
  const float large = reciprocal<T>(1.0f + decay), small = decay * large;
  return x < 0 ? LogisticPair{small, large} : LogisticPair{large, small};
}

// The standard normal distribution at x.
struct NormalDistribution {
  float cumulative, density;
};
template <typename T>
__device__ __forceinline__ NormalDistribution normal_distribution(float x) {
  constexpr float kInverseSqrt2Pi = 0.39894228040143267794f;
  const float density = kInverseSqrt2Pi * exponential<T>(-0.5f * x * x);
  if constexpr (kExactMath<T>) {
    constexpr float kSqrtHalf = 0.70710678118654752440f;
    return {0.5f * erfcf(-x * kSqrtHalf), density};
  } else {
    // With z = |x| / sqrt 2 and t = 1 / (1 + z / 2): log2(erfc(z) exp(z^2) / (2 t)) as a polynomial in t,
    // interpolated at Chebyshev's points of t in [0.17, 1]. The tail is right to 1.4e-5 of itself however
    // small it is.
    constexpr float kHalfSqrtHalf = 0.35355339059327376220f, kHalfLog2E = 0.72134752044448170368f;
    const float t = reciprocal<T>(fmaf(kHalfSqrtHalf, fabsf(x), 1.0f));
    float power = 0.34479101f;
    power = fmaf(power, t, -1.06708686f);
    power = fmaf(power, t, 0.73394870f);
    power = fmaf(power, t, 0.34128145f);
    power = fmaf(power, t, 1.47485182f);
    power = fmaf(power, t, -2.82776618f);
    const float tail = t * exp2_approx(fmaf(-kHalfLog2E * x, x, power));
    return {x < 0 ? tail : 1.0f - tail, density};
  }
}

struct Identity {
  template <typename T>
  __device__ static ValueAndSlope at(float x) {
    return {x, 1.0f};
  }
};

struct Relu {
  template <typename T>
  __device__ static ValueAndSlope at(float x) {
    return {x < 0 ? 0.0f : x, x > 0 ? 1.0f : 0.0f};  // NaN stays NaN
  }
};

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), which does not cancel for negative u.
struct GeluTanh {
  template <typename T>
  __device__ static ValueAndSlope at(float x) {
    constexpr float kTwoSqrt2OverPi = 1.59576912160573071176f, kCubic = 0.044715f;
    const float square = x * x;
    const auto [s, complement] = logistic<T>(x * fmaf(kTwoSqrt2OverPi * kCubic, square, kTwoSqrt2OverPi));
    const float inner_slope = fmaf(3 * kTwoSqrt2OverPi * kCubic, square, kTwoSqrt2OverPi);
    return {x * s, fmaf(x * s * complement, inner_slope, s)};
  }
};

struct GeluErf {
  template <typename T>
  __device__ static ValueAndSlope at(float x) {
    const NormalDistribution normal = normal_distribution<T>(x);
    return {x * normal.cumulative, fmaf(x, normal.density, normal.cumulative)};
  }
};

struct Silu {
  template <typename T>
  __device__ static ValueAndSlope at(float x) {
    const auto [s, complement] = logistic<T>(x);
    return {x * s, fmaf(x * s, complement, s)};
  }
};

// body(Function{}) with the struct above that implements `kind`: a branch that a whole grid takes one way.
template <typename Body>
__device__ __forceinline__ void with_activation(Activation kind, Body body) {
  switch (kind) {
    case Activation::none: return body(Identity{});
    case Activation::relu: return body(Relu{});
    case Activation::gelu_tanh: return body(GeluTanh{});
    case Activation::gelu_erf: return body(GeluErf{});
    case Activation::silu: return body(Silu{});
  }
}

}  // namespace heddle::cuda
