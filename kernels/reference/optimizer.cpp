#include "kernels/reference/optimizer.h"

#include <algorithm>
#include <cmath>

namespace heddle::reference {

template <typename Real>
AdamWState<Real> adamw(const AdamWState<Real>& state, const Array<Real>& gradient,
                       const AdamWSettings<Real>& s) {
  AdamWState<Real> next = state;
  for (std::int64_t i = 0; i < gradient.count(); ++i) {
    const Real g = gradient(i) * s.gradient_scale;
    next.moment1(i) = s.beta1 * state.moment1(i) + (1 - s.beta1) * g;
    next.moment2(i) = s.beta2 * state.moment2(i) + (1 - s.beta2) * g * g;
    const Real m = next.moment1(i) / s.bias_correction1, v = next.moment2(i) / s.bias_correction2;
    next.parameter(i) = state.parameter(i) - s.learning_rate * (m / (std::sqrt(v) + s.epsilon) +
                                                                s.weight_decay * state.parameter(i));
  }
  return next;
}

template <typename Real>
Real squared_norm(const Array<Real>& x) {
  Real total = 0;
  for (const Real value : x.values) total += value * value;
  return total;
}

template <typename Real>
Real clip_scale(Real sum, Real max_norm) {
  const Real norm = std::sqrt(sum);
  if (max_norm <= 0 || !std::isfinite(norm) || norm == 0) return 1;
  return std::min(Real(1), max_norm / norm);
}

template <typename Real>
Real sum(const Array<Real>& x) {
  Real total = 0;
  for (const Real value : x.values) total += value;
  return total;
}

#define INSTANTIATE(Real)                                                                                   \
  template AdamWState<Real> adamw(const AdamWState<Real>&, const Array<Real>&, const AdamWSettings<Real>&); \
  template Real squared_norm(const Array<Real>&);                                                           \
  template Real clip_scale(Real, Real);                                                                     \
  template Real sum(const Array<Real>&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace heddle::reference
