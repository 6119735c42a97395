// The activation functions on vectors, value and slope together: what is not used is not computed.
#pragma once

#include "kernels/cpu/vector_math.h"
#include "kernels/ops.h"

namespace heddle::cpu {

struct ValueAndSlope {
  FloatVector value, slope;
};

struct Identity {
  static ValueAndSlope at(FloatVector x) { return {x, broadcast(1.0f)}; }
};

struct Relu {
  static ValueAndSlope at(FloatVector x) {
    const FloatVector zero = {};
    return {x < 0.0f ? zero : x, x > 0.0f ? broadcast(1.0f) : zero};  // NaN stays NaN
  }
};

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), which does not cancel for negative u.
struct GeluTanh {
  static ValueAndSlope at(FloatVector x) {
    constexpr float kTwoSqrt2OverPi = 1.59576912160573071176f, kCubic = 0.044715f;
    const FloatVector square = x * x;
    const auto [s, complement] = logistic(x * (kTwoSqrt2OverPi + (kTwoSqrt2OverPi * kCubic) * square));
    const FloatVector inner_slope = kTwoSqrt2OverPi + (3 * kTwoSqrt2OverPi * kCubic) * square;
    return {x * s, s + x * s * complement * inner_slope};
  }
};

struct GeluErf {
  static ValueAndSlope at(FloatVector x) {
    const NormalDistribution normal = normal_distribution(x);
    return {x * normal.cumulative, normal.cumulative + x * normal.density};
  }
};

struct Silu {
  static ValueAndSlope at(FloatVector x) {
    const auto [s, complement] = logistic(x);
    return {x * s, s + x * s * complement};
  }
};

// body(Function{}) with the struct above that implements `kind`.
template <typename Body>
void with_activation(Activation kind, Body body) {
  switch (kind) {
    case Activation::none: return body(Identity{});
    case Activation::relu: return body(Relu{});
    case Activation::gelu_tanh: return body(GeluTanh{});
    case Activation::gelu_erf: return body(GeluErf{});
    case Activation::silu: return body(Silu{});
  }
}

}  // namespace heddle::cpu
