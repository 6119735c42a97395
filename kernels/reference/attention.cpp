#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/dropout.h"

namespace heddle::reference {

namespace {

// One query's view of the keys: entry j of each vector belongs to key j.
template <typename Real>
struct Row {
  std::vector<Real> probability;  // softmax of the scaled, masked scores; all 0 if the query sees no key
  std::vector<Real> factor;       // dropout: 0 or 1 / (1 - p)
  Real log_sum_exp = -std::numeric_limits<Real>::infinity();
};

template <typename Real>
Row<Real> attention_row(const AttentionInput<Real>& in, std::int64_t b, std::int64_t h, std::int64_t i) {
  const std::int64_t Tq = in.q.size(1), Tk = in.k.size(1), D = in.q.size(3);
  const std::int64_t kv = h / (in.q.size(2) / in.k.size(2));
  Row<Real> row{std::vector<Real>(Tk), std::vector<Real>(Tk)};

  const auto visible = [&](std::int64_t j) {
    return (!in.causal || j <= i + Tk - Tq) && (in.key_lengths.empty() || j < in.key_lengths[b]);
  };
  std::vector<Real> score(Tk);
  Real maximum = -std::numeric_limits<Real>::infinity();
  for (std::int64_t j = 0; j < Tk; ++j) {
    if (!visible(j)) continue;
    for (std::int64_t d = 0; d < D; ++d) score[j] += in.q(b, i, h, d) * in.k(b, j, kv, d);
    score[j] *= in.scale;
    maximum = std::max(maximum, score[j]);
  }
  Real sum = 0;
  for (std::int64_t j = 0; j < Tk; ++j)
    if (visible(j)) sum += row.probability[j] = std::exp(score[j] - maximum);
  if (sum == 0) return row;
  row.log_sum_exp = maximum + std::log(sum);

  const std::uint32_t sample = in.dropout.first_sample + static_cast<std::uint32_t>(b);
  for (std::int64_t j = 0; j < Tk; ++j) {
    const std::uint64_t element = static_cast<std::uint64_t>(((in.first_head + h) * Tq + i) * Tk + j);
    row.probability[j] /= sum;
    row.factor[j] = dropout_factor<Real>(in.dropout, sample, element);
  }
  return row;
}

}  // namespace

template <typename Real>
AttentionOutput<Real> attention_forward(const AttentionInput<Real>& in) {
  const std::int64_t B = in.q.size(0), Tq = in.q.size(1), H = in.q.size(2), D = in.q.size(3);
  const std::int64_t Tk = in.k.size(1), group = H / in.k.size(2);
  AttentionOutput<Real> out{Array<Real>({B, Tq, H, D}), Array<Real>({B, H, Tq})};
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t i = 0; i < Tq; ++i) {
        const Row<Real> row = attention_row(in, b, h, i);
        out.log_sum_exp(b, h, i) = row.log_sum_exp;
        for (std::int64_t j = 0; j < Tk; ++j)
          for (std::int64_t d = 0; d < D; ++d)
            out.o(b, i, h, d) += row.factor[j] * row.probability[j] * in.v(b, j, h / group, d);
      }
  return out;
}

// With P = softmax(S), S = scale q k^T, o = (F P) v where F holds the dropout factors (elementwise):
//   dv_j = sum_i F_ij P_ij do_i;  dP_ij = F_ij do_i . v_j;  dS_ij = P_ij (dP_ij - sum_j P_ij dP_ij);
//   dq_i = scale sum_j dS_ij k_j;  dk_j = scale sum_i dS_ij q_i.
template <typename Real>
AttentionInputGradients<Real> attention_backward(const AttentionInput<Real>& in, const Array<Real>& d_o) {
  const std::int64_t B = in.q.size(0), Tq = in.q.size(1), H = in.q.size(2), D = in.q.size(3);
  const std::int64_t Tk = in.k.size(1), group = H / in.k.size(2);
  AttentionInputGradients<Real> grad{Array<Real>(in.q.shape), Array<Real>(in.k.shape),
                                     Array<Real>(in.v.shape)};
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t i = 0; i < Tq; ++i) {
        const std::int64_t kv = h / group;
        const Row<Real> row = attention_row(in, b, h, i);
        std::vector<Real> d_probability(Tk);
        Real mean = 0;
        for (std::int64_t j = 0; j < Tk; ++j) {
          for (std::int64_t d = 0; d < D; ++d) d_probability[j] += d_o(b, i, h, d) * in.v(b, j, kv, d);
          d_probability[j] *= row.factor[j];
          mean += row.probability[j] * d_probability[j];
        }
        for (std::int64_t j = 0; j < Tk; ++j) {
          const Real d_score = row.probability[j] * (d_probability[j] - mean);
          for (std::int64_t d = 0; d < D; ++d) {
            grad.dv(b, j, kv, d) += row.factor[j] * row.probability[j] * d_o(b, i, h, d);
            grad.dq(b, i, h, d) += in.scale * d_score * in.k(b, j, kv, d);
            grad.dk(b, j, kv, d) += in.scale * d_score * in.q(b, i, h, d);
          }
        }
      }
  return grad;
}

#define INSTANTIATE(Real)                                                        \
  template AttentionOutput<Real> attention_forward(const AttentionInput<Real>&); \
  template AttentionInputGradients<Real> attention_backward(const AttentionInput<Real>&, const Array<Real>&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace heddle::reference
