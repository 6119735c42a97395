// Reference of the family "activation" (kernels/ops.h).
#pragma once

#include "kernels/ops.h"
#include "kernels/reference/array.h"

namespace heddle::reference {

template <typename Real>
Real activate(Activation kind, Real x);

// The derivative of activate() with respect to x; 0 for relu at 0.
template <typename Real>
Real activation_derivative(Activation kind, Real x);

template <typename Real>
Array<Real> activation_forward(Activation kind, const Array<Real>& x);

template <typename Real>
Array<Real> activation_backward(Activation kind, const Array<Real>& x, const Array<Real>& dy);

// x [N, 2C] = gate | up -> activation(gate) * up [N, C].
template <typename Real>
Array<Real> gated_forward(Activation kind, const Array<Real>& x);

// -> gradient of x [N, 2C].
template <typename Real>
Array<Real> gated_backward(Activation kind, const Array<Real>& x, const Array<Real>& dy);

}  // namespace heddle::reference
