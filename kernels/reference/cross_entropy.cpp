#include "kernels/reference/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace heddle::reference {

template <typename Real>
Array<Real> cross_entropy_statistics(const CrossEntropyInput<Real>& in) {
  Array<Real> statistics({in.logits.size(0), 4});
  for (std::int64_t n = 0; n < in.logits.size(0); ++n) {
    if (in.targets[n] < 0) continue;
    Real maximum = -std::numeric_limits<Real>::infinity(), exp_sum = 0, target_logit = 0, logit_sum = 0;
    for (std::int64_t v = 0; v < in.valid_columns; ++v) maximum = std::max(maximum, in.logits(n, v));
    for (std::int64_t v = 0; v < in.valid_columns; ++v) {
      exp_sum += std::exp(in.logits(n, v) - maximum);
      logit_sum += in.logits(n, v);
      if (in.first_column + v == in.targets[n]) target_logit = in.logits(n, v);
    }
    statistics(n, 0) = maximum;
    statistics(n, 1) = exp_sum;
    statistics(n, 2) = target_logit;
    statistics(n, 3) = logit_sum;
  }
  return statistics;
}

template <typename Real>
CrossEntropyLoss<Real> cross_entropy_merge(const CrossEntropyInput<Real>& in, const Array<Real>& statistics) {
  const std::int64_t S = statistics.size(0), N = statistics.size(1);
  CrossEntropyLoss<Real> out{Array<Real>({N}), Array<Real>({N})};
  for (std::int64_t n = 0; n < N; ++n) {
    if (in.targets[n] < 0) continue;
    Real maximum = -std::numeric_limits<Real>::infinity(), exp_sum = 0, target_logit = 0, logit_sum = 0;
    for (std::int64_t s = 0; s < S; ++s) maximum = std::max(maximum, statistics(s, n, 0));
    for (std::int64_t s = 0; s < S; ++s) {
      exp_sum += statistics(s, n, 1) * std::exp(statistics(s, n, 0) - maximum);
      target_logit += statistics(s, n, 2);
      logit_sum += statistics(s, n, 3);
    }
    const Real log_sum_exp = maximum + std::log(exp_sum);
    const Real negative_log_likelihood = log_sum_exp - target_logit;
    const Real mean_over_vocabulary = log_sum_exp - logit_sum / in.vocabulary;
    out.loss(n) = (1 - in.label_smoothing) * negative_log_likelihood;
    if (in.label_smoothing > 0) out.loss(n) += in.label_smoothing * mean_over_vocabulary;
    out.log_sum_exp(n) = log_sum_exp;
  }
  return out;
}

template <typename Real>
Array<Real> cross_entropy_backward(const CrossEntropyInput<Real>& in, const Array<Real>& log_sum_exp,
                                   Real scale) {
  Array<Real> gradient(in.logits.shape);
  for (std::int64_t n = 0; n < in.logits.size(0); ++n) {
    if (in.targets[n] < 0) continue;
    for (std::int64_t v = 0; v < in.valid_columns; ++v) {
      const Real softmax = std::exp(in.logits(n, v) - log_sum_exp(n));
      const bool is_target = in.first_column + v == in.targets[n];
      const Real target_probability =
          (is_target ? 1 - in.label_smoothing : Real(0)) + in.label_smoothing / in.vocabulary;
      gradient(n, v) = (softmax - target_probability) * scale;
    }
  }
  return gradient;
}

#define INSTANTIATE(Real)                                                                                  \
  template Array<Real> cross_entropy_statistics(const CrossEntropyInput<Real>&);                           \
  template CrossEntropyLoss<Real> cross_entropy_merge(const CrossEntropyInput<Real>&, const Array<Real>&); \
  template Array<Real> cross_entropy_backward(const CrossEntropyInput<Real>&, const Array<Real>&, Real);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace heddle::reference
