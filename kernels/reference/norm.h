// Reference of the family "norm" (kernels/ops.h).
#pragma once

#include "kernels/reference/array.h"

namespace heddle::reference {

template <typename Real>
struct NormOutput {
  Array<Real> y;     // [N, C]
  Array<Real> mean;  // [N]; not given for RMS norm
  Array<Real> rstd;  // [N]
};

template <typename Real>
struct NormGradients {
  Array<Real> dx;              // [N, C]
  Array<Real> dweight, dbias;  // [C]; RMS norm has no dbias
};

// x [N, C], weight [C], bias [C] or not given.
template <typename Real>
NormOutput<Real> layer_norm_forward(const Array<Real>& x, const Array<Real>& weight, const Array<Real>& bias,
                                    Real epsilon);

// mean, rstd [N] as the forward gave them.
template <typename Real>
NormGradients<Real> layer_norm_backward(const Array<Real>& dy, const Array<Real>& x,
                                        const Array<Real>& weight, const Array<Real>& mean,
                                        const Array<Real>& rstd);

template <typename Real>
NormOutput<Real> rms_norm_forward(const Array<Real>& x, const Array<Real>& weight, Real epsilon);

template <typename Real>
NormGradients<Real> rms_norm_backward(const Array<Real>& dy, const Array<Real>& x, const Array<Real>& weight,
                                      const Array<Real>& rstd);

}  // namespace heddle::reference
