#include "kernels/reference/dropout.h"

#include <cmath>

#include "kernels/philox.h"

namespace heddle::reference {

template <typename Real>
Real dropout_factor(const Dropout& dropout, std::uint32_t sample, std::uint64_t element) {
  if (dropout.probability == 0) return 1;
  const std::uint64_t block = element / 4;
  const PhiloxBlock counter = {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                               sample, *dropout.step};
  const std::uint32_t word = philox(dropout.key, counter)[element % 4];
  const bool kept = word >= std::floor(double(dropout.probability) * 4294967296.0);
  return kept ? 1 / (1 - Real(dropout.probability)) : Real(0);
}

template <typename Real>
Array<Real> dropout(const Array<Real>& x, const Dropout& dropout) {
  Array<Real> y(x.shape);
  const std::int64_t samples = x.size(0), elements = samples ? x.count() / samples : 0, width = x.size(-1);
  const std::int64_t columns = dropout.columns ? dropout.columns : width;
  for (std::int64_t b = 0; b < samples; ++b)
    for (std::int64_t e = 0; e < elements; ++e)
      y.values[b * elements + e] =
          x.values[b * elements + e] *
          dropout_factor<Real>(dropout, dropout.first_sample + static_cast<std::uint32_t>(b),
                               e / width * columns + dropout.first_column + e % width);
  return y;
}

template <typename Real>
Array<Real> bias_dropout_residual(const Array<Real>& x, const Array<Real>& bias, const Array<Real>& residual,
                                  const Dropout& dropout) {
  Array<Real> sum = x;
  const std::int64_t width = x.size(-1);
  if (bias.given())
    for (std::int64_t i = 0; i < x.count(); ++i) sum.values[i] += bias(i % width);
  Array<Real> out = reference::dropout(sum, dropout);
  for (std::int64_t i = 0; i < x.count(); ++i) out.values[i] += residual.values[i];
  return out;
}

template <typename Real>
BiasDropoutResidualGradients<Real> bias_dropout_residual_backward(const Array<Real>& dout,
                                                                  const Dropout& dropout) {
  const std::int64_t width = dout.size(-1);
  BiasDropoutResidualGradients<Real> gradients{reference::dropout(dout, dropout), Array<Real>({width})};
  for (std::int64_t i = 0; i < dout.count(); ++i) gradients.dbias(i % width) += gradients.dx.values[i];
  return gradients;
}

#define INSTANTIATE(Real)                                                                                \
  template Real dropout_factor(const Dropout&, std::uint32_t, std::uint64_t);                            \
  template Array<Real> dropout(const Array<Real>&, const Dropout&);                                      \
  template Array<Real> bias_dropout_residual(const Array<Real>&, const Array<Real>&, const Array<Real>&, \
                                             const Dropout&);                                            \
  template BiasDropoutResidualGradients<Real> bias_dropout_residual_backward(const Array<Real>&,         \
                                                                             const Dropout&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace heddle::reference
