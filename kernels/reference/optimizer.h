// Reference of the family "optimizer" (kernels/ops.h).
#pragma once

#include "kernels/reference/array.h"

namespace heddle::reference {

template <typename Real>
struct AdamWState {
  Array<Real> parameter, moment1, moment2;  // [n]
};

template <typename Real>
struct AdamWSettings {
  Real learning_rate, bias_correction1, bias_correction2, gradient_scale;
  Real beta1, beta2, epsilon, weight_decay;
};

// The state after one step. gradient [n].
template <typename Real>
AdamWState<Real> adamw(const AdamWState<Real>& state, const Array<Real>& gradient,
                       const AdamWSettings<Real>& settings);

template <typename Real>
Real squared_norm(const Array<Real>& x);

// The factor for gradients whose squares add up to sum: 1 if max_norm <= 0 or the norm is not finite.
template <typename Real>
Real clip_scale(Real sum, Real max_norm);

template <typename Real>
Real sum(const Array<Real>& x);

}  // namespace heddle::reference
