#include "kernels/reference/norm.h"

#include <cmath>

namespace heddle::reference {

template <typename Real>
NormOutput<Real> layer_norm_forward(const Array<Real>& x, const Array<Real>& weight, const Array<Real>& bias,
                                    Real epsilon) {
  const std::int64_t N = x.size(0), C = x.size(1);
  NormOutput<Real> out{Array<Real>({N, C}), Array<Real>({N}), Array<Real>({N})};
  for (std::int64_t n = 0; n < N; ++n) {
    Real mean = 0, variance = 0;
    for (std::int64_t c = 0; c < C; ++c) mean += x(n, c);
    mean /= C;
    for (std::int64_t c = 0; c < C; ++c) variance += (x(n, c) - mean) * (x(n, c) - mean);
    variance /= C;
    const Real rstd = 1 / std::sqrt(variance + epsilon);
    for (std::int64_t c = 0; c < C; ++c)
      out.y(n, c) = (x(n, c) - mean) * rstd * weight(c) + (bias.given() ? bias(c) : Real(0));
    out.mean(n) = mean;
    out.rstd(n) = rstd;
  }
  return out;
}

template <typename Real>
NormGradients<Real> layer_norm_backward(const Array<Real>& dy, const Array<Real>& x,
                                        const Array<Real>& weight, const Array<Real>& mean,
                                        const Array<Real>& rstd) {
  const std::int64_t N = x.size(0), C = x.size(1);
  NormGradients<Real> grad{Array<Real>({N, C}), Array<Real>({C}), Array<Real>({C})};
  for (std::int64_t n = 0; n < N; ++n) {
    const auto normed = [&](std::int64_t c) { return (x(n, c) - mean(n)) * rstd(n); };
    Real mean_g = 0, mean_gn = 0;
    for (std::int64_t c = 0; c < C; ++c) {
      const Real g = dy(n, c) * weight(c);
      mean_g += g / C;
      mean_gn += g * normed(c) / C;
      grad.dweight(c) += dy(n, c) * normed(c);
      grad.dbias(c) += dy(n, c);
    }
    for (std::int64_t c = 0; c < C; ++c)
      grad.dx(n, c) = rstd(n) * (dy(n, c) * weight(c) - mean_g - normed(c) * mean_gn);
  }
  return grad;
}

template <typename Real>
NormOutput<Real> rms_norm_forward(const Array<Real>& x, const Array<Real>& weight, Real epsilon) {
  const std::int64_t N = x.size(0), C = x.size(1);
  NormOutput<Real> out{Array<Real>({N, C}), {}, Array<Real>({N})};
  for (std::int64_t n = 0; n < N; ++n) {
    Real mean_square = 0;
    for (std::int64_t c = 0; c < C; ++c) mean_square += x(n, c) * x(n, c);
    mean_square /= C;
    out.rstd(n) = 1 / std::sqrt(mean_square + epsilon);
    for (std::int64_t c = 0; c < C; ++c) out.y(n, c) = x(n, c) * out.rstd(n) * weight(c);
  }
  return out;
}

template <typename Real>
NormGradients<Real> rms_norm_backward(const Array<Real>& dy, const Array<Real>& x, const Array<Real>& weight,
                                      const Array<Real>& rstd) {
  const std::int64_t N = x.size(0), C = x.size(1);
  NormGradients<Real> grad{Array<Real>({N, C}), Array<Real>({C}), {}};
  for (std::int64_t n = 0; n < N; ++n) {
    const auto normed = [&](std::int64_t c) { return x(n, c) * rstd(n); };
    Real mean_gn = 0;
    for (std::int64_t c = 0; c < C; ++c) {
      mean_gn += dy(n, c) * weight(c) * normed(c) / C;
      grad.dweight(c) += dy(n, c) * normed(c);
    }
    for (std::int64_t c = 0; c < C; ++c)
      grad.dx(n, c) = rstd(n) * (dy(n, c) * weight(c) - normed(c) * mean_gn);
  }
  return grad;
}

#define INSTANTIATE(Real)                                                                                    \
  template NormOutput<Real> layer_norm_forward(const Array<Real>&, const Array<Real>&, const Array<Real>&,   \
                                               Real);                                                        \
  template NormGradients<Real> layer_norm_backward(                                                          \
      const Array<Real>&, const Array<Real>&, const Array<Real>&, const Array<Real>&, const Array<Real>&);   \
  template NormOutput<Real> rms_norm_forward(const Array<Real>&, const Array<Real>&, Real);                  \
  template NormGradients<Real> rms_norm_backward(const Array<Real>&, const Array<Real>&, const Array<Real>&, \
                                                 const Array<Real>&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace heddle::reference
