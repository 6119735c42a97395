#include "kernels/reference/rope.h"

#include <cmath>

namespace heddle::reference {

template <typename Real>
Array<Real> rope(const Array<Real>& x, const std::vector<std::int32_t>& positions, std::int64_t rotary_size,
                 Real base, bool inverse) {
  const std::int64_t half = rotary_size / 2;
  Array<Real> y = x;
  for (std::int64_t b = 0; b < x.size(0); ++b)
    for (std::int64_t t = 0; t < x.size(1); ++t)
      for (std::int64_t h = 0; h < x.size(2); ++h)
        for (std::int64_t i = 0; i < half; ++i) {
          const Real frequency = std::pow(base, Real(-2 * i) / Real(rotary_size));
          const Real angle = Real(positions[b * x.size(1) + t]) * frequency;
          const Real cosine = std::cos(angle), sine = inverse ? -std::sin(angle) : std::sin(angle);
          y(b, t, h, i) = x(b, t, h, i) * cosine - x(b, t, h, half + i) * sine;
          y(b, t, h, half + i) = x(b, t, h, half + i) * cosine + x(b, t, h, i) * sine;
        }
  return y;
}

template Array<float> rope(const Array<float>&, const std::vector<std::int32_t>&, std::int64_t, float, bool);
template Array<double> rope(const Array<double>&, const std::vector<std::int32_t>&, std::int64_t, double,
                            bool);

}  // namespace heddle::reference
