#include "kernels/checks.h"

#include <algorithm>
#include <string>

#include "kernels/error.h"
#include "kernels/rope.h"

namespace heddle::checks {

void check_shape(const char* operation, bool condition, const char* requirement,
                 std::initializer_list<NamedTensor> tensors) {
  if (condition) return;
  std::string given;
  for (const NamedTensor& t : tensors) {
    if (t.tensor.rank() == 0) continue;
    given += fmt::format("{}{} {} {}", given.empty() ? "" : ", ", t.name, name_of(t.tensor.dtype),
                         t.tensor.shape.to_string());
  }
  throw error("{}: needs {}, got {}", operation, requirement, given);
}

namespace {

bool is_given(const Tensor& t) {
  return t.rank() > 0;
}
bool is_act(const Tensor& t) {
  return t.dtype == DType::f32 || t.dtype == DType::bf16;
}

// A contiguous tensor of this type and shape.
bool is(const Tensor& t, DType dtype, const Shape& shape) {
  return t.dtype == dtype && t.shape == shape && t.contiguous();
}
bool is_or_absent(const Tensor& t, DType dtype, const Shape& shape) {
  return !is_given(t) || is(t, dtype, shape);
}
bool is_like(const Tensor& t, const Tensor& other) {
  return is(t, other.dtype, other.shape);
}
bool is_act_matrix(const Tensor& t) {
  return is_act(t) && t.rank() == 2 && t.contiguous();
}
bool is_flat_f32(const Tensor& t) {
  return t.dtype == DType::f32 && t.rank() == 1 && t.contiguous();
}

// Two dimensions, rows at any distance that does not make them overlap.
bool has_strided_rows(const Tensor& t) {
  return t.rank() == 2 && (t.size(1) <= 1 || t.stride[1] == 1) &&
         (t.size(0) <= 1 || t.stride[0] >= t.size(1));
}

void check_dropout(const char* operation, const Dropout& dropout) {
  if (!(dropout.probability >= 0 && dropout.probability < 1))
    throw error("{}: the dropout probability must be at least 0 and below 1, got {}", operation,
                dropout.probability);
  if (dropout.probability > 0 && dropout.step == nullptr)
    throw error("{}: dropout needs the device's step counter", operation);
}
void check_whole_rows(const char* operation, const Dropout& dropout) {
  if (dropout.columns != 0) throw error("{}: dropout of a part of the columns is not supported here", operation);
}

}  // namespace

// --- matmul ---

void copy_on_device(const Tensor& from, const Tensor& to) {
  check_shape("copy_on_device",
              from.dtype == to.dtype && from.count() == to.count() && from.contiguous() && to.contiguous(),
              "two contiguous tensors of one type and size", {{"from", from}, {"to", to}});
}

void matmul(const Matmul& m) {
  const auto check = [&](bool condition, const char* requirement) {
    check_shape("matmul", condition, requirement,
                {{"a", m.a},
                 {"b", m.b},
                 {"c", m.c},
                 {"bias", m.bias},
                 {"pre_activation", m.pre_activation},
                 {"a_sums", m.a_sums},
                 {"b_sums", m.b_sums}});
  };
  check(is_act(m.a) && m.b.dtype == m.a.dtype, "a and b of one type, f32 or bf16");
  check(has_strided_rows(m.a) && has_strided_rows(m.b), "matrices a and b with contiguous rows");
  const std::int64_t M = m.a.size(m.transpose_a ? 1 : 0), K = m.a.size(m.transpose_a ? 0 : 1);
  const std::int64_t N = m.b.size(m.transpose_b ? 0 : 1);
  check(m.b.size(m.transpose_b ? 1 : 0) == K, "op(a) [M, K] and op(b) [K, N]");
  check(is(m.c, m.a.dtype, {M, N}) || is(m.c, DType::f32, {M, N}),
        "c [M, N], contiguous, f32 or of a's type");
  check(is_or_absent(m.bias, m.a.dtype, {N}), "a bias [N] of a's type");
  check(is_or_absent(m.pre_activation, m.a.dtype, {M, N}), "pre_activation [M, N] of a's type");
  if (m.accumulate)
    check(m.c.dtype == DType::f32 && !is_given(m.bias) && !is_given(m.pre_activation) &&
              m.activation == Activation::none,
          "an f32 c and neither bias nor activation to accumulate");
  if (m.activation_backward)
    check(m.c.dtype == m.a.dtype && !is_given(m.bias) && is_given(m.pre_activation),
          "a c of a's type, pre_activation and no bias for the backward of an activation");
  check(!is_given(m.a_sums) || (m.transpose_a && is_act_matrix(m.a) && is(m.a_sums, DType::f32, {M})),
        "a contiguous transposed a for a_sums f32 [M]");
  check(!is_given(m.b_sums) || (!m.transpose_b && is_act_matrix(m.b) && is(m.b_sums, DType::f32, {N})),
        "a contiguous b that is not transposed for b_sums f32 [N]");
  check(!is_given(m.a_sums) || !is_given(m.b_sums), "a_sums or b_sums, not both");
}

void bias_gradient(const Tensor& dy, const Tensor& dbias) {
  check_shape("bias_gradient", is_act_matrix(dy) && is(dbias, DType::f32, {dy.size(1)}),
              "dy act [N, C] and dbias f32 [C]", {{"dy", dy}, {"dbias", dbias}});
}

// --- activation ---

void activation_forward(Activation, const Tensor& x, const Tensor& y) {
  check_shape("activation_forward", is_act(x) && x.contiguous() && is_like(y, x), "x and y act [N, C]",
              {{"x", x}, {"y", y}});
}

void activation_backward(Activation, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  check_shape("activation_backward", is_act(x) && x.contiguous() && is_like(dy, x) && is_like(dx, x),
              "x, dy and dx act [N, C]", {{"x", x}, {"dy", dy}, {"dx", dx}});
}

void gated_forward(Activation, const Tensor& x, const Tensor& y) {
  check_shape("gated_forward", is_act_matrix(y) && is(x, y.dtype, {y.size(0), 2 * y.size(1)}),
              "x act [N, 2C] and y act [N, C]", {{"x", x}, {"y", y}});
}

void gated_backward(Activation, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  check_shape("gated_backward",
              is_act_matrix(dy) && is(x, dy.dtype, {dy.size(0), 2 * dy.size(1)}) && is_like(dx, x),
              "x act [N, 2C], dy act [N, C] and dx act [N, 2C]", {{"x", x}, {"dy", dy}, {"dx", dx}});
}

// --- elementwise ---

void fill(const Tensor& x) {
  check_shape("fill", is_act(x) && x.contiguous(), "a contiguous f32 or bf16 tensor", {{"x", x}});
}

void copy(const Tensor& from, const Tensor& to) {
  const auto last_is_contiguous = [](const Tensor& t) {
    return t.rank() == 0 || t.size(-1) <= 1 || t.stride[t.rank() - 1] == 1;
  };
  check_shape("copy",
              from.shape == to.shape && (from.dtype == to.dtype || (is_act(from) && is_act(to))) &&
                  last_is_contiguous(from) && last_is_contiguous(to),
              "tensors of one shape, of one type or f32 and bf16", {{"from", from}, {"to", to}});
}

void add(const Tensor& a, const Tensor& b, const Tensor& out) {
  check_shape("add", is_act(a) && a.contiguous() && is_like(b, a) && is_like(out, a),
              "a, b and out of one type, f32 or bf16, and one shape", {{"a", a}, {"b", b}, {"out", out}});
}

void scale(const Tensor& x, const Tensor& out) {
  check_shape("scale", is_act(x) && x.contiguous() && is_like(out, x),
              "x and out of one type, f32 or bf16, and one shape", {{"x", x}, {"out", out}});
}

// --- dropout ---

void dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) {
  check_shape("dropout", is_act(x) && x.rank() >= 1 && x.contiguous() && is_like(y, x),
              "x and y act [B, ...]", {{"x", x}, {"y", y}});
  check_dropout("dropout", dropout);
  if (dropout.columns != 0 &&
      (dropout.first_column < 0 || dropout.first_column > dropout.columns - x.size(-1)))
    throw error("dropout: columns [{}, {}) do not lie within rows of {}", dropout.first_column,
                dropout.first_column + x.size(-1), dropout.columns);
}

void bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                           const Dropout& dropout, const Tensor& out) {
  check_shape("bias_dropout_residual",
              is_act(x) && x.rank() == 3 && x.contiguous() && is_or_absent(bias, x.dtype, {x.size(2)}) &&
                  is_like(residual, x) && is_like(out, x),
              "x, residual and out act [B, T, C] and a bias act [C]",
              {{"x", x}, {"bias", bias}, {"residual", residual}, {"out", out}});
  check_dropout("bias_dropout_residual", dropout);
  check_whole_rows("bias_dropout_residual", dropout);
}

void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                    const Tensor& dbias) {
  check_shape("bias_dropout_residual_backward",
              is_act(dout) && dout.rank() == 3 && dout.contiguous() && is_like(dx, dout) &&
                  is_or_absent(dbias, DType::f32, {dout.size(2)}),
              "dout and dx act [B, T, C] and dbias f32 [C]", {{"dout", dout}, {"dx", dx}, {"dbias", dbias}});
  check_dropout("bias_dropout_residual_backward", dropout);
  check_whole_rows("bias_dropout_residual_backward", dropout);
}

// --- norm ---

void layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y,
                        const Tensor& mean, const Tensor& rstd) {
  check_shape("layer_norm_forward",
              is_act_matrix(x) && x.size(1) > 0 && is(weight, x.dtype, {x.size(1)}) &&
                  is_or_absent(bias, x.dtype, {x.size(1)}) && is_like(y, x) &&
                  is_or_absent(mean, DType::f32, {x.size(0)}) && is_or_absent(rstd, DType::f32, {x.size(0)}),
              "x and y act [N, C], weight and bias act [C], mean and rstd f32 [N]",
              {{"x", x}, {"weight", weight}, {"bias", bias}, {"y", y}, {"mean", mean}, {"rstd", rstd}});
}

void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                         const Tensor& rstd, const Tensor& dx, const Tensor& dweight, const Tensor& dbias) {
  check_shape("layer_norm_backward",
              is_act_matrix(x) && x.size(1) > 0 && is_like(dy, x) && is(weight, x.dtype, {x.size(1)}) &&
                  is(mean, DType::f32, {x.size(0)}) && is(rstd, DType::f32, {x.size(0)}) && is_like(dx, x) &&
                  is(dweight, DType::f32, {x.size(1)}) && is_or_absent(dbias, DType::f32, {x.size(1)}),
              "dy, x and dx act [N, C], weight act [C], mean and rstd f32 [N], dweight and dbias f32 [C]",
              {{"dy", dy},
               {"x", x},
               {"weight", weight},
               {"mean", mean},
               {"rstd", rstd},
               {"dx", dx},
               {"dweight", dweight},
               {"dbias", dbias}});
}

void rms_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& y, const Tensor& rstd) {
  check_shape("rms_norm_forward",
              is_act_matrix(x) && x.size(1) > 0 && is(weight, x.dtype, {x.size(1)}) && is_like(y, x) &&
                  is_or_absent(rstd, DType::f32, {x.size(0)}),
              "x and y act [N, C], weight act [C], rstd f32 [N]",
              {{"x", x}, {"weight", weight}, {"y", y}, {"rstd", rstd}});
}

void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                       const Tensor& dx, const Tensor& dweight) {
  check_shape("rms_norm_backward",
              is_act_matrix(x) && x.size(1) > 0 && is_like(dy, x) && is(weight, x.dtype, {x.size(1)}) &&
                  is(rstd, DType::f32, {x.size(0)}) && is_like(dx, x) && is(dweight, DType::f32, {x.size(1)}),
              "dy, x and dx act [N, C], weight act [C], rstd f32 [N], dweight f32 [C]",
              {{"dy", dy}, {"x", x}, {"weight", weight}, {"rstd", rstd}, {"dx", dx}, {"dweight", dweight}});
}

void residual_norm_forward(const ResidualNorm& r) {
  const Tensor& x = r.x;
  const bool is_batch = is_act(x) && x.rank() == 3 && x.contiguous() && x.size(2) > 0;
  const Shape columns = {is_batch ? x.size(2) : 0}, rows = {is_batch ? x.size(0) * x.size(1) : 0};
  check_shape("residual_norm_forward",
              is_batch && is_or_absent(r.bias, x.dtype, columns) && is_like(r.residual, x) && is_like(r.out, x) &&
                  is(r.norm_weight, x.dtype, columns) && is_or_absent(r.norm_bias, x.dtype, columns) &&
                  is_like(r.y, x) && is_or_absent(r.mean, DType::f32, rows) && is_or_absent(r.rstd, DType::f32, rows),
              "x, residual, out and y act [B, T, C], bias, norm_weight and norm_bias act [C], mean and rstd f32 [B T]",
              {{"x", x},
               {"bias", r.bias},
               {"residual", r.residual},
               {"out", r.out},
               {"norm_weight", r.norm_weight},
               {"norm_bias", r.norm_bias},
               {"y", r.y},
               {"mean", r.mean},
               {"rstd", r.rstd}});
  check_shape("residual_norm_forward", !r.rms || (!is_given(r.norm_bias) && !is_given(r.mean)),
              "neither norm_bias nor mean for an RMS norm", {{"norm_bias", r.norm_bias}, {"mean", r.mean}});
  check_dropout("residual_norm_forward", r.dropout);
  check_whole_rows("residual_norm_forward", r.dropout);
}

// --- rope ---

void rope(const Rope& r) {
  const auto check = [&](bool condition, const char* requirement) {
    check_shape("rope", condition, requirement, {{"x", r.x}, {"positions", r.positions}});
  };
  check(is_act(r.x) && r.x.rank() == 4 && (r.x.size(3) <= 1 || r.x.stride[3] == 1),
        "x act [B, T, H, D] with contiguous heads");
  check(is(r.positions, DType::i32, {r.x.size(0) * r.x.size(1)}), "positions i32 [B T]");
  if (r.rotary_size < 2 || r.rotary_size % 2 != 0 || r.rotary_size > std::min(r.x.size(3), kMaxRotarySize))
    throw error("rope: needs an even rotary_size of 2 to {}, at most the size of a head, got {} for heads of {}",
                kMaxRotarySize, r.rotary_size, r.x.size(3));
}

// --- embedding ---

void embedding_forward(const Tensor& ids, const Tensor& table, const Tensor& out) {
  check_shape("embedding_forward",
              ids.dtype == DType::i32 && ids.rank() == 1 && ids.contiguous() && is_act_matrix(table) &&
                  is(out, table.dtype, {ids.size(0), table.size(1)}),
              "ids i32 [N], table act [R, C] and out act [N, C]",
              {{"ids", ids}, {"table", table}, {"out", out}});
}

void embedding_backward(const Tensor& ids, const Tensor& dout, const Tensor& dtable) {
  check_shape("embedding_backward",
              ids.dtype == DType::i32 && ids.rank() == 1 && ids.contiguous() && is_act_matrix(dout) &&
                  dout.size(0) == ids.size(0) && dtable.rank() == 2 &&
                  is(dtable, DType::f32, {dtable.size(0), dout.size(1)}),
              "ids i32 [N], dout act [N, C] and dtable f32 [R, C]",
              {{"ids", ids}, {"dout", dout}, {"dtable", dtable}});
}

// --- attention ---

namespace {

void check_attention(const char* operation, const Attention& a) {
  const auto check = [&](bool condition, const char* requirement) {
    check_shape(operation, condition, requirement,
                {{"q", a.q}, {"k", a.k}, {"v", a.v}, {"o", a.o}, {"log_sum_exp", a.log_sum_exp}});
  };
  const auto is_heads = [&](const Tensor& t) {
    return t.rank() == 4 && t.dtype == a.q.dtype && (t.size(3) <= 1 || t.stride[3] == 1);
  };
  check(is_act(a.q) && is_heads(a.q) && is_heads(a.k) && is_heads(a.v) && is_heads(a.o),
        "q, k, v and o act [B, T, H, D] of one type with contiguous heads");
  check(a.o.shape == a.q.shape && a.k.shape == a.v.shape && a.k.size(0) == a.q.size(0) &&
            a.k.size(3) == a.q.size(3),
        "q and o [B, Tq, H, D], k and v [B, Tk, Hkv, D]");
  check(a.k.size(2) > 0 && a.q.size(2) % a.k.size(2) == 0, "a number of heads that key/value heads divide");
  check(a.q.size(3) >= 1 && a.q.size(3) <= 256, "a head size of 1 to 256");
  check(is(a.log_sum_exp, DType::f32, {a.q.size(0), a.q.size(2), a.q.size(1)}), "log_sum_exp f32 [B, H, Tq]");
  check_dropout(operation, a.dropout);
  check_whole_rows(operation, a.dropout);
}

}  // namespace

void attention_forward(const Attention& a) {
  check_attention("attention_forward", a);
}

void attention_backward(const Attention& a, const AttentionGradients& g, std::int64_t scratch_count) {
  check_attention("attention_backward", a);
  const auto is_gradient = [](const Tensor& gradient, const Tensor& of) {
    return gradient.dtype == of.dtype && gradient.shape == of.shape &&
           (of.size(3) <= 1 || gradient.stride[3] == 1);
  };
  check_shape(
      "attention_backward",
      is_gradient(g.d_o, a.o) && is_gradient(g.dq, a.q) && is_gradient(g.dk, a.k) && is_gradient(g.dv, a.v),
      "gradients of the types and shapes of o, q, k and v",
      {{"q", a.q}, {"k", a.k}, {"d_o", g.d_o}, {"dq", g.dq}, {"dk", g.dk}, {"dv", g.dv}});
  check_shape("attention_backward",
              scratch_count == 0 || (g.scratch.dtype == DType::f32 && g.scratch.contiguous() &&
                                     is_given(g.scratch) && g.scratch.count() >= scratch_count),
              "scratch f32 [attention_backward_scratch()]", {{"q", a.q}, {"k", a.k}, {"scratch", g.scratch}});
}

// --- cross entropy ---

namespace {

void check_cross_entropy(const char* operation, const CrossEntropy& c) {
  check_shape(operation,
              is_act(c.logits) && has_strided_rows(c.logits) && is(c.targets, DType::i32, {c.logits.size(0)}),
              "logits [N, V] with contiguous rows and targets i32 [N]",
              {{"logits", c.logits}, {"targets", c.targets}});
  if (c.valid_columns < 0 || c.valid_columns > c.logits.size(1) || c.first_column < 0 ||
      (c.valid_columns > 0 && c.first_column + c.valid_columns > c.vocabulary))
    throw error("{}: {} valid columns from {} on fit neither the {} columns given nor the vocabulary of {}",
                operation, c.valid_columns, c.first_column, c.logits.size(1), c.vocabulary);
  if (!(c.label_smoothing >= 0 && c.label_smoothing < 1))
    throw error("{}: label smoothing must be at least 0 and below 1, got {}", operation, c.label_smoothing);
}

}  // namespace

void cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) {
  check_cross_entropy("cross_entropy_statistics", c);
  check_shape("cross_entropy_statistics",
              is(statistics, DType::f32, {c.logits.size(0), kCrossEntropyStatistics}),
              "statistics f32 [N, 4]", {{"logits", c.logits}, {"statistics", statistics}});
}

void cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                         const Tensor& log_sum_exp) {
  const std::int64_t N = c.targets.rank() == 1 ? c.targets.size(0) : -1;
  check_shape("cross_entropy_merge",
              is(c.targets, DType::i32, {N}) && all.rank() == 3 && all.size(0) >= 1 &&
                  is(all, DType::f32, {all.size(0), N, kCrossEntropyStatistics}) &&
                  is(loss, DType::f32, {N}) && is(log_sum_exp, DType::f32, {N}),
              "targets i32 [N], statistics f32 [S, N, 4], loss and log_sum_exp f32 [N]",
              {{"targets", c.targets}, {"statistics", all}, {"loss", loss}, {"log_sum_exp", log_sum_exp}});
}

void cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp) {
  check_cross_entropy("cross_entropy_backward", c);
  check_shape("cross_entropy_backward", is(log_sum_exp, DType::f32, {c.logits.size(0)}),
              "log_sum_exp f32 [N]", {{"logits", c.logits}, {"log_sum_exp", log_sum_exp}});
}

// --- optimizer ---

void adamw(const AdamW& a) {
  check_shape("adamw",
              is_flat_f32(a.parameter) && is_like(a.gradient, a.parameter) &&
                  is_like(a.moment1, a.parameter) && is_like(a.moment2, a.parameter) &&
                  is_or_absent(a.compute_copy, DType::bf16, a.parameter.shape),
              "parameter, gradient and moments f32 [n] and a compute copy bf16 [n]",
              {{"parameter", a.parameter},
               {"gradient", a.gradient},
               {"moment1", a.moment1},
               {"moment2", a.moment2},
               {"compute_copy", a.compute_copy}});
}

void round_stochastically(const StochasticRounding& r) {
  check_shape("round_stochastically", is_flat_f32(r.from) && is(r.to, DType::bf16, r.from.shape),
              "from f32 [n] and to bf16 [n]", {{"from", r.from}, {"to", r.to}});
  if (r.place_count < 1 && r.from.count() > 0)
    throw error("round_stochastically: {} elements belong to no parameter", r.from.count());
}

void squared_norm(const Tensor& x) {
  check_shape("squared_norm", is_flat_f32(x), "x f32 [n]", {{"x", x}});
}

void sum(const Tensor& x) {
  check_shape("sum", is_flat_f32(x), "x f32 [n]", {{"x", x}});
}

}  // namespace heddle::checks
