#include "kernels/reference/activation.h"

#include <cmath>

namespace heddle::reference {

namespace {

constexpr double kSqrt2OverPi = 0.79788456080286535588, kSqrtHalf = 0.70710678118654752440;
constexpr double kInverseSqrt2Pi = 0.39894228040143267794;  // 1 / sqrt(2 pi)

// Two forms differ from the comments in ops.h so that the lower tails do not cancel to 0, the definitions
// being the same: (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)) and 1 + erf(z) = erfc(-z).

template <typename Real>
Real gelu_tanh_share(Real x) {  // (1 + tanh(u)) / 2
  const Real u = Real(kSqrt2OverPi) * (x + Real(0.044715) * x * x * x);
  return 1 / (1 + std::exp(-2 * u));
}

template <typename Real>
Real gelu_erf_share(Real x) {  // (1 + erf(x / sqrt 2)) / 2
  return Real(0.5) * std::erfc(-x * Real(kSqrtHalf));
}

}  // namespace

template <typename Real>
Real activate(Activation kind, Real x) {
  switch (kind) {
    case Activation::none: return x;
    case Activation::relu: return x > 0 ? x : Real(0);
    case Activation::gelu_tanh: return x * gelu_tanh_share(x);
    case Activation::gelu_erf: return x * gelu_erf_share(x);
    case Activation::silu: return x / (1 + std::exp(-x));
  }
  return x;
}

template <typename Real>
Real activation_derivative(Activation kind, Real x) {
  switch (kind) {
    case Activation::none: return 1;
    case Activation::relu: return x > 0 ? Real(1) : Real(0);
    case Activation::gelu_tanh: {
      const Real share = gelu_tanh_share(x), tanh = 2 * share - 1;
      const Real inner_derivative = Real(kSqrt2OverPi) * (1 + 3 * Real(0.044715) * x * x);
      return share + Real(0.5) * x * (1 - tanh * tanh) * inner_derivative;
    }
    case Activation::gelu_erf: return gelu_erf_share(x) + x * Real(kInverseSqrt2Pi) * std::exp(-x * x / 2);
    case Activation::silu: {
      const Real sigmoid = 1 / (1 + std::exp(-x));
      return sigmoid * (1 + x * (1 - sigmoid));
    }
  }
  return 1;
}

template <typename Real>
Array<Real> activation_forward(Activation kind, const Array<Real>& x) {
  Array<Real> y(x.shape);
  for (std::int64_t i = 0; i < x.count(); ++i) y.values[i] = activate(kind, x.values[i]);
  return y;
}

template <typename Real>
Array<Real> activation_backward(Activation kind, const Array<Real>& x, const Array<Real>& dy) {
  Array<Real> dx(x.shape);
  for (std::int64_t i = 0; i < x.count(); ++i)
    dx.values[i] = dy.values[i] * activation_derivative(kind, x.values[i]);
  return dx;
}

template <typename Real>
Array<Real> gated_forward(Activation kind, const Array<Real>& x) {
  const std::int64_t rows = x.size(0), width = x.size(1) / 2;
  Array<Real> y({rows, width});
  for (std::int64_t n = 0; n < rows; ++n)
    for (std::int64_t c = 0; c < width; ++c) y(n, c) = activate(kind, x(n, c)) * x(n, width + c);
  return y;
}

template <typename Real>
Array<Real> gated_backward(Activation kind, const Array<Real>& x, const Array<Real>& dy) {
  const std::int64_t rows = x.size(0), width = x.size(1) / 2;
  Array<Real> dx(x.shape);
  for (std::int64_t n = 0; n < rows; ++n)
    for (std::int64_t c = 0; c < width; ++c) {
      const Real gate = x(n, c), up = x(n, width + c);
      dx(n, c) = dy(n, c) * up * activation_derivative(kind, gate);
      dx(n, width + c) = dy(n, c) * activate(kind, gate);
    }
  return dx;
}

#define INSTANTIATE(Real)                                                                       \
  template Real activate(Activation, Real);                                                     \
  template Real activation_derivative(Activation, Real);                                        \
  template Array<Real> activation_forward(Activation, const Array<Real>&);                      \
  template Array<Real> activation_backward(Activation, const Array<Real>&, const Array<Real>&); \
  template Array<Real> gated_forward(Activation, const Array<Real>&);                           \
  template Array<Real> gated_backward(Activation, const Array<Real>&, const Array<Real>&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace heddle::reference
