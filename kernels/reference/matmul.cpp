#include "kernels/reference/matmul.h"

#include "kernels/reference/activation.h"

namespace heddle::reference {

template <typename Real>
MatmulResult<Real> matmul(const Array<Real>& a, const Array<Real>& b, bool transpose_a, bool transpose_b,
                          const Array<Real>& bias, Activation activation) {
  const std::int64_t M = a.size(transpose_a ? 1 : 0), K = a.size(transpose_a ? 0 : 1);
  const std::int64_t N = b.size(transpose_b ? 0 : 1);
  assert(b.size(transpose_b ? 1 : 0) == K);

  MatmulResult<Real> result{Array<Real>({M, N}), Array<Real>({M, N})};
  for (std::int64_t m = 0; m < M; ++m)
    for (std::int64_t n = 0; n < N; ++n) {
      Real sum = 0;
      for (std::int64_t k = 0; k < K; ++k)
        sum += (transpose_a ? a(k, m) : a(m, k)) * (transpose_b ? b(n, k) : b(k, n));
      if (bias.given()) sum += bias(n);
      result.pre_activation(m, n) = sum;
      result.c(m, n) = activate(activation, sum);
    }
  return result;
}

template <typename Real>
Array<Real> bias_gradient(const Array<Real>& dy) {
  Array<Real> dbias({dy.size(1)});
  for (std::int64_t n = 0; n < dy.size(0); ++n)
    for (std::int64_t c = 0; c < dy.size(1); ++c) dbias(c) += dy(n, c);
  return dbias;
}

#define INSTANTIATE(Real)                                                                                    \
  template MatmulResult<Real> matmul(const Array<Real>&, const Array<Real>&, bool, bool, const Array<Real>&, \
                                     Activation);                                                            \
  template Array<Real> bias_gradient(const Array<Real>&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace heddle::reference
