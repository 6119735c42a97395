// Reference of stochastic rounding (kernels/ops.h).
#pragma once

#include <cstdint>

#include "kernels/reference/array.h"

namespace heddle::reference {

// The number in [0, 2^16) that decides about element `number` of a global parameter.
std::uint32_t rounding_number(std::uint64_t key, std::uint32_t update, std::uint64_t number);

// The bf16 next to x towards 0, or the one behind it if the part of the way that x has gone, in 2^-16, and
// `random` make 2^16 or more.
template <typename Real>
Real round_stochastically(Real x, std::uint32_t random);

}  // namespace heddle::reference
