// Reference of Ops::rope (kernels/ops.h).
#pragma once

#include "kernels/reference/array.h"

namespace heddle::reference {

// x [B, T, H, D], positions [B T]; -> x with the first rotary_size elements of each head turned.
template <typename Real>
Array<Real> rope(const Array<Real>& x, const std::vector<std::int32_t>& positions, std::int64_t rotary_size,
                 Real base, bool inverse);

}  // namespace heddle::reference
