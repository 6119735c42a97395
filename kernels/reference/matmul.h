// Reference of the family "matmul" (kernels/ops.h).
#pragma once

#include "kernels/ops.h"
#include "kernels/reference/array.h"

namespace heddle::reference {

template <typename Real>
struct MatmulResult {
  Array<Real> pre_activation;  // [M, N] = op(a) op(b) + bias
  Array<Real> c;               // [M, N] = activation(pre_activation)
};

// a [M, K] (or [K, M]), b [K, N] (or [N, K]), bias [N] or not given. With Matmul::accumulate, c is what is
// added.
template <typename Real>
MatmulResult<Real> matmul(const Array<Real>& a, const Array<Real>& b, bool transpose_a = false,
                          bool transpose_b = false, const Array<Real>& bias = {},
                          Activation activation = Activation::none);

// dy [N, C] -> sum over rows [C].
template <typename Real>
Array<Real> bias_gradient(const Array<Real>& dy);

}  // namespace heddle::reference
