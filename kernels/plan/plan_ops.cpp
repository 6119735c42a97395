#include "kernels/plan/plan_ops.h"

#include <algorithm>
#include <initializer_list>

#include "kernels/checks.h"

namespace heddle {

namespace {

// Bytes of the tensors; one that is not given has rank 0 and counts nothing.
std::int64_t bytes_of(std::initializer_list<const Tensor*> tensors) {
  std::int64_t bytes = 0;
  for (const Tensor* t : tensors)
    if (t->rank() > 0) bytes += static_cast<std::int64_t>(t->bytes());
  return bytes;
}

void count(PlanCount& family, std::int64_t flops, std::int64_t bytes) {
  family += {1, flops, bytes};
}

// Query-key pairs that a causal mask (or none) leaves, of one batch entry and head.
std::int64_t visible_pairs(const Attention& a) {
  const std::int64_t Tq = a.q.size(1), Tk = a.k.size(1);
  if (!a.causal) return Tq * Tk;
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < Tq; ++i) pairs += std::clamp<std::int64_t>(i + 1 + Tk - Tq, 0, Tk);
  return pairs;
}

std::int64_t attention_flops(const Attention& a) {
  return 4 * a.q.size(0) * a.q.size(2) * a.q.size(3) * visible_pairs(a);
}

// The columns of the logits that count, once.
std::int64_t logit_bytes(const CrossEntropy& c) {
  return c.logits.size(0) * c.valid_columns * static_cast<std::int64_t>(size_of(c.logits.dtype));
}

}  // namespace

PlanCount PlanTotals::all() const {
  PlanCount sum;
  for (const PlanCount& family :
       {matmul, attention, activation, elementwise, dropout, norm, rope, embedding, cross_entropy, optimizer})
    sum += family;
  return sum;
}

// --- matmul ---

void PlanOps::matmul(const Matmul& m) {
  checks::matmul(m);
  largest_matmul_workspace_ = std::max(largest_matmul_workspace_, matmul_workspace(m));
  const std::int64_t K = m.a.size(m.transpose_a ? 0 : 1);
  std::int64_t bytes = bytes_of({&m.a, &m.b, &m.c, &m.bias, &m.pre_activation});
  if (m.accumulate) bytes += bytes_of({&m.c});
  bytes += bytes_of({&m.a_sums, &m.a_sums, &m.b_sums, &m.b_sums});
  count(totals_.matmul, 2 * m.c.count() * K, bytes);
}

void PlanOps::bias_gradient(const Tensor& dy, const Tensor& dbias) {
  checks::bias_gradient(dy, dbias);
  count(totals_.matmul, 0, bytes_of({&dy, &dbias, &dbias}));
}

// --- activation ---

void PlanOps::activation_forward(Activation kind, const Tensor& x, const Tensor& y) {
  checks::activation_forward(kind, x, y);
  count(totals_.activation, 0, bytes_of({&x, &y}));
}

void PlanOps::activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  checks::activation_backward(kind, x, dy, dx);
  count(totals_.activation, 0, bytes_of({&x, &dy, &dx}));
}

void PlanOps::gated_forward(Activation kind, const Tensor& x, const Tensor& y) {
  checks::gated_forward(kind, x, y);
  count(totals_.activation, 0, bytes_of({&x, &y}));
}

void PlanOps::gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  checks::gated_backward(kind, x, dy, dx);
  count(totals_.activation, 0, bytes_of({&x, &dy, &dx}));
}

// --- elementwise ---

void PlanOps::fill(const Tensor& x, float) {
  checks::fill(x);
  count(totals_.elementwise, 0, bytes_of({&x}));
}

void PlanOps::copy(const Tensor& from, const Tensor& to) {
  checks::copy(from, to);
  count(totals_.elementwise, 0, bytes_of({&from, &to}));
}

void PlanOps::add(const Tensor& a, const Tensor& b, const Tensor& out) {
  checks::add(a, b, out);
  count(totals_.elementwise, 0, bytes_of({&a, &b, &out}));
}

void PlanOps::scale(const Tensor& x, float, const Tensor& out) {
  checks::scale(x, out);
  count(totals_.elementwise, 0, bytes_of({&x, &out}));
}

// --- dropout ---

void PlanOps::dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) {
  checks::dropout(x, dropout, y);
  count(totals_.dropout, 0, bytes_of({&x, &y}));
}

void PlanOps::bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                                    const Dropout& dropout, const Tensor& out) {
  checks::bias_dropout_residual(x, bias, residual, dropout, out);
  count(totals_.dropout, 0, bytes_of({&x, &bias, &residual, &out}));
}

void PlanOps::bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                             const Tensor& dbias) {
  checks::bias_dropout_residual_backward(dout, dropout, dx, dbias);
  count(totals_.dropout, 0, bytes_of({&dout, &dx, &dbias, &dbias}));
}

// --- norm ---

void PlanOps::layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float,
                                 const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  checks::layer_norm_forward(x, weight, bias, y, mean, rstd);
  count(totals_.norm, 0, bytes_of({&x, &weight, &bias, &y, &mean, &rstd}));
}

void PlanOps::layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                  const Tensor& rstd, bool accumulate, const Tensor& dx,
                                  const Tensor& dweight, const Tensor& dbias) {
  checks::layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias);
  count(totals_.norm, 0,
        bytes_of({&dy, &x, &weight, &mean, &rstd, &dx, &dweight, &dweight, &dbias, &dbias}) +
            (accumulate ? bytes_of({&dx}) : 0));
}

void PlanOps::rms_norm_forward(const Tensor& x, const Tensor& weight, float, const Tensor& y,
                               const Tensor& rstd) {
  checks::rms_norm_forward(x, weight, y, rstd);
  count(totals_.norm, 0, bytes_of({&x, &weight, &y, &rstd}));
}

void PlanOps::rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                                bool accumulate, const Tensor& dx, const Tensor& dweight) {
  checks::rms_norm_backward(dy, x, weight, rstd, dx, dweight);
  count(totals_.norm, 0,
        bytes_of({&dy, &x, &weight, &rstd, &dx, &dweight, &dweight}) + (accumulate ? bytes_of({&dx}) : 0));
}

void PlanOps::residual_norm_forward(const ResidualNorm& r) {
  checks::residual_norm_forward(r);
  count(totals_.norm, 0,
        bytes_of({&r.x, &r.bias, &r.residual, &r.out, &r.norm_weight, &r.norm_bias, &r.y, &r.mean, &r.rstd}));
}

// --- rope ---

void PlanOps::rope(const Rope& r) {
  checks::rope(r);
  const Tensor turned = r.x.slice(3, 0, r.rotary_size);
  count(totals_.rope, 0, bytes_of({&turned, &turned, &r.positions}));
}

// --- embedding: a row of the table per token ---

void PlanOps::embedding_forward(const Tensor& ids, const Tensor& table, std::int64_t, bool accumulate,
                                const Tensor& out) {
  checks::embedding_forward(ids, table, out);
  count(totals_.embedding, 0, bytes_of({&ids, &out, &out}) + (accumulate ? bytes_of({&out}) : 0));
}

void PlanOps::embedding_backward(const Tensor& ids, const Tensor& dout, std::int64_t, const Tensor& dtable) {
  checks::embedding_backward(ids, dout, dtable);
  const std::int64_t read_and_written = 2 * dout.count() * static_cast<std::int64_t>(sizeof(float));
  count(totals_.embedding, 0, bytes_of({&ids, &dout}) + read_and_written);
}

// --- attention ---

void PlanOps::attention_forward(const Attention& a) {
  checks::attention_forward(a);
  count(totals_.attention, attention_flops(a), bytes_of({&a.q, &a.k, &a.v, &a.o, &a.log_sum_exp}));
}

void PlanOps::attention_backward(const Attention& a, const AttentionGradients& g) {
  checks::attention_backward(
      a, g, attention_backward_scratch(a.q.size(0), a.q.size(1), a.k.size(1), a.q.size(2), a.q.size(3)));
  count(totals_.attention, attention_flops(a) / 2 * 5,
        bytes_of(
            {&a.q, &a.k, &a.v, &a.o, &a.log_sum_exp, &g.d_o, &g.dq, &g.dk, &g.dv, &g.scratch, &g.scratch}));
}

std::int64_t PlanOps::attention_backward_scratch(std::int64_t batch, std::int64_t query_length,
                                                 std::int64_t key_length, std::int64_t num_heads,
                                                 std::int64_t head_size) {
  if (planned_)
    return planned_->attention_backward_scratch(batch, query_length, key_length, num_heads, head_size);
  return batch * num_heads * query_length;
}

// --- cross entropy ---

void PlanOps::cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) {
  checks::cross_entropy_statistics(c, statistics);
  count(totals_.cross_entropy, 0, logit_bytes(c) + bytes_of({&c.targets, &statistics}));
}

void PlanOps::cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                                  const Tensor& log_sum_exp) {
  checks::cross_entropy_merge(c, all, loss, log_sum_exp);
  count(totals_.cross_entropy, 0, bytes_of({&c.targets, &all, &loss, &log_sum_exp}));
}

void PlanOps::cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp, const float*) {
  checks::cross_entropy_backward(c, log_sum_exp);
  count(totals_.cross_entropy, 0, logit_bytes(c) + bytes_of({&c.logits, &c.targets, &log_sum_exp}));
}

// --- optimizer ---

void PlanOps::adamw(const AdamW& a) {
  checks::adamw(a);
  count(totals_.optimizer, 0,
        bytes_of({&a.parameter, &a.parameter, &a.gradient, &a.moment1, &a.moment1, &a.moment2, &a.moment2,
                  &a.compute_copy}));
}

void PlanOps::round_stochastically(const StochasticRounding& r) {
  checks::round_stochastically(r);
  count(totals_.optimizer, 0, bytes_of({&r.from, &r.to}));
}

void PlanOps::squared_norm(const Tensor& x, const Spans&, double*) {
  checks::squared_norm(x);
  count(totals_.optimizer, 0, bytes_of({&x}));
}

void PlanOps::clip_scale(const double*, const double*, float, AdamWStep*, std::uint32_t*) {
  count(totals_.optimizer, 0, 0);
}

void PlanOps::sum(const Tensor& x, double*) {
  checks::sum(x);
  count(totals_.optimizer, 0, bytes_of({&x}));
}

}  // namespace heddle
