#include "kernels/reference/elementwise.h"

namespace heddle::reference {

template <typename Real>
Array<Real> add(const Array<Real>& a, const Array<Real>& b) {
  Array<Real> out(a.shape);
  for (std::int64_t i = 0; i < a.count(); ++i) out.values[i] = a.values[i] + b.values[i];
  return out;
}

template <typename Real>
Array<Real> scale(const Array<Real>& x, Real factor) {
  Array<Real> out(x.shape);
  for (std::int64_t i = 0; i < x.count(); ++i) out.values[i] = x.values[i] * factor;
  return out;
}

template Array<float> add(const Array<float>&, const Array<float>&);
template Array<double> add(const Array<double>&, const Array<double>&);
template Array<float> scale(const Array<float>&, float);
template Array<double> scale(const Array<double>&, double);

}  // namespace heddle::reference
