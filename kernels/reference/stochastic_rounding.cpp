#include "kernels/reference/stochastic_rounding.h"

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"

namespace heddle::reference {

std::uint32_t rounding_number(std::uint64_t key, std::uint32_t update, std::uint64_t number) {
  const std::uint64_t block = number / 8, half = number % 8;
  const std::uint32_t word = philox(key, {static_cast<std::uint32_t>(block),
                                          static_cast<std::uint32_t>(block >> 32), 0u, update})[half / 2];
  return half % 2 == 0 ? word % 65536 : word / 65536;
}

template <typename Real>
Real round_stochastically(Real x, std::uint32_t random) {
  if (!std::isfinite(x) || x == 0) return x;
  constexpr int kDigits = 8, kSmallestExponent = -126;  // of bf16
  const Real largest = std::ldexp(Real(255), 127 - (kDigits - 1));
  const int exponent = std::max(std::ilogb(x), kSmallestExponent);
  const Real unit = std::ldexp(Real(1), exponent - (kDigits - 1));  // between two bf16
  const Real units = std::abs(x) / unit, whole = std::floor(units);
  const bool up = (units - whole) * 65536 + static_cast<Real>(random) >= 65536;
  return std::copysign(std::min((whole + (up ? 1 : 0)) * unit, largest), x);
}

template float round_stochastically(float, std::uint32_t);
template double round_stochastically(double, std::uint32_t);

}  // namespace heddle::reference
