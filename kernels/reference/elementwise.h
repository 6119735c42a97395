// Reference of the family "elementwise" (kernels/ops.h); fill and copy need none.
#pragma once

#include "kernels/reference/array.h"

namespace heddle::reference {

template <typename Real>
Array<Real> add(const Array<Real>& a, const Array<Real>& b);

template <typename Real>
Array<Real> scale(const Array<Real>& x, Real factor);

}  // namespace heddle::reference
