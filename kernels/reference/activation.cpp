#include "kernels/reference/activation.h"

#include <cmath>

namespace heddle::reference {

template <typename Real>
Real activate(Activation kind, Real x) {
  const Real sqrt_2_over_pi = static_cast<Real>(0.79788456080286535588);
  const Real sqrt_half = static_cast<Real>(0.70710678118654752440);
  switch (kind) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x > 0 ? x : Real(0);
    case Activation::gelu_tanh:
      return Real(0.5) * x * (1 + std::tanh(sqrt_2_over_pi * (x + Real(0.044715) * x * x * x)));
    case Activation::gelu_erf:
      return Real(0.5) * x * (1 + std::erf(x * sqrt_half));
    case Activation::silu:
      return x / (1 + std::exp(-x));
  }
  return x;
}

template <typename Real>
Real activation_derivative(Activation kind, Real x) {
  const Real sqrt_2_over_pi = static_cast<Real>(0.79788456080286535588);
  const Real sqrt_half = static_cast<Real>(0.70710678118654752440);
  const Real inverse_sqrt_2_pi = static_cast<Real>(0.39894228040143267794);
  switch (kind) {
    case Activation::none:
      return 1;
    case Activation::relu:
      return x > 0 ? Real(1) : Real(0);
    case Activation::gelu_tanh: {
      const Real t = std::tanh(sqrt_2_over_pi * (x + Real(0.044715) * x * x * x));
      const Real inner_derivative = sqrt_2_over_pi * (1 + 3 * Real(0.044715) * x * x);
      return Real(0.5) * (1 + t) + Real(0.5) * x * (1 - t * t) * inner_derivative;
    }
    case Activation::gelu_erf:
      return Real(0.5) * (1 + std::erf(x * sqrt_half)) + x * inverse_sqrt_2_pi * std::exp(-x * x / 2);
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
