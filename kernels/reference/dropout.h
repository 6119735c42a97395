// Reference of the family "dropout" (kernels/ops.h).
#pragma once

#include "kernels/ops.h"
#include "kernels/reference/array.h"

namespace heddle::reference {

// What element `element` of sample `sample` (its number within the global batch) is multiplied by:
// 0 or 1 / (1 - probability). `dropout.step` points to host memory.
template <typename Real>
Real dropout_factor(const Dropout& dropout, std::uint32_t sample, std::uint64_t element);

// x [B, ...]; sample b of the tensor is number first_sample + b of the batch. Also its own backward.
template <typename Real>
Array<Real> dropout(const Array<Real>& x, const Dropout& dropout);

// residual + dropout(x + bias); x, residual [B, T, C], bias [C] or not given.
template <typename Real>
Array<Real> bias_dropout_residual(const Array<Real>& x, const Array<Real>& bias, const Array<Real>& residual,
                                  const Dropout& dropout);

template <typename Real>
struct BiasDropoutResidualGradients {
  Array<Real> dx;     // [B, T, C]
  Array<Real> dbias;  // [C], of the unrounded dx
};

template <typename Real>
BiasDropoutResidualGradients<Real> bias_dropout_residual_backward(const Array<Real>& dout,
                                                                  const Dropout& dropout);

}  // namespace heddle::reference
