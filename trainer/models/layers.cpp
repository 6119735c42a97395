#include "trainer/models/layers.h"

#include <cmath>

#include "kernels/error.h"

namespace heddle {

// --- Norm ---

Norm::Norm(ParameterTable& table, const std::string& name, NormKind kind, std::int64_t width, float epsilon,
           bool bias)
    : kind_(kind), epsilon_(epsilon) {
  weight_ = &table.add({name + ".weight", {width}, {}, Initializer::ones(), /*decay=*/false});
  if (bias && kind == NormKind::layer_norm)
    bias_ = &table.add({name + ".bias", {width}, {}, Initializer::zeros(), /*decay=*/false});
}

Norm::Statistics Norm::keep(Context& context, const Tensor& x) const {
  if (!context.training) return {};
  Statistics statistics;
  const std::int64_t rows = x.size(0);
  context.tape.keep(x);
  if (kind_ == NormKind::layer_norm) statistics.mean = context.tape.push(DType::f32, {rows});
  statistics.rstd = context.tape.push(DType::f32, {rows});
  return statistics;
}

void Norm::describe(Context& context, const Tensor& x, ResidualNorm& operation) const {
  operation.rms = kind_ == NormKind::rms_norm;
  operation.norm_weight = weight_->value;
  if (bias_) operation.norm_bias = bias_->value;
  operation.epsilon = epsilon_;
  const Statistics statistics = keep(context, x);
  operation.mean = statistics.mean;
  operation.rstd = statistics.rstd;
}

void Norm::forward(Context& context, const Tensor& x, const Tensor& y) const {
  const auto [mean, rstd] = keep(context, x);
  if (kind_ == NormKind::layer_norm)
    context.ops.layer_norm_forward(x, weight_->value, bias_ ? bias_->value : Tensor(), epsilon_, y, mean, rstd);
  else
    context.ops.rms_norm_forward(x, weight_->value, epsilon_, y, rstd);
}

void Norm::backward(Context& context, const Tensor& dy, bool accumulate, const Tensor& dx) const {
  Tape::Scope scope(context.tape);
  const Tensor rstd = context.tape.pop();
  if (kind_ == NormKind::layer_norm) {
    const Tensor mean = context.tape.pop();
    const Tensor x = context.tape.pop();
    context.ops.layer_norm_backward(dy, x, weight_->value, mean, rstd, accumulate, dx, weight_->gradient,
                                    bias_ ? bias_->gradient : Tensor());
  } else {
    const Tensor x = context.tape.pop();
    context.ops.rms_norm_backward(dy, x, weight_->value, rstd, accumulate, dx, weight_->gradient);
  }
  context.gradient_ready(*weight_);
  if (bias_) context.gradient_ready(*bias_);
}

// --- SelfAttention ---

namespace {

// The q, k and v thirds of a packed projection [B*T, 3*H*D], as strided [B, T, H, D] views.
struct PackedHeads {
  Tensor q, k, v;
};

PackedHeads unpack(const Tensor& qkv, std::int64_t batch, std::int64_t heads, std::int64_t head_size) {
  const Tensor all = qkv.view({batch, qkv.size(0) / batch, 3, heads, head_size});
  const auto third = [&](std::int64_t i) {
    const Tensor part = all.slice(2, i, i + 1);
    Tensor view;
    view.data = part.data;
    view.dtype = part.dtype;
    view.shape = {part.size(0), part.size(1), heads, head_size};
    view.stride = {part.stride[0], part.stride[1], part.stride[3], part.stride[4]};
    return view;
  };
  return {third(0), third(1), third(2)};
}

}  // namespace

namespace {

std::int64_t split_heads(const AttentionSpec& spec, int ranks) {
  if (spec.num_heads % ranks != 0)
    throw usage_error("{}: {} heads do not divide among tensor_parallel = {} ranks", spec.projection, spec.num_heads,
                      ranks);
  return spec.num_heads / ranks;
}

}  // namespace

SelfAttention::SelfAttention(ParameterTable& table, const AttentionSpec& spec)
    : spec_(spec),
      local_heads_(split_heads(spec, table.ranks())),
      dropout_key_(philox_key(spec.seed, "dropout/" + spec.projection)),
      projection_(table, {spec.projection, spec.hidden_size, 3 * spec.num_heads * spec.head_size, spec.bias,
                          spec.layout, 3, spec.projection_initializer}),
      output_(table, {spec.output, spec.num_heads * spec.head_size, spec.hidden_size, spec.bias, spec.layout, 1,
                      spec.output_initializer}) {}

Attention SelfAttention::arguments(Context& context, const Tensor& q, const Tensor& k, const Tensor& v) const {
  Attention a;
  a.q = q;
  a.k = k;
  a.v = v;
  a.scale = 1.0f / std::sqrt(static_cast<float>(spec_.head_size));
  a.causal = spec_.causal;
  a.dropout = context.dropout(spec_.dropout, dropout_key_);
  a.first_head = static_cast<std::int32_t>(context.mesh.tensor_rank() * local_heads_);
  return a;
}

void SelfAttention::forward(Context& context, const Tensor& x, std::int64_t batch, const Tensor& y) const {
  const std::int64_t rows = x.size(0), length = rows / batch, width = local_heads_ * spec_.head_size;
  Tape::Scope scope(context.tape);
  if (context.training) context.tape.keep(x);
  const auto keep = [&](DType dtype, Shape shape) {
    return context.training ? context.tape.push(dtype, shape) : context.tape.scratch(dtype, shape);
  };
  const Tensor qkv = keep(context.act, {rows, 3 * width});
  const Tensor heads = keep(context.act, {rows, width});
  const Tensor log_sum_exp = keep(DType::f32, {batch, local_heads_, length});

  projection_.forward(context, x, qkv);
  const PackedHeads packed = unpack(qkv, batch, local_heads_, spec_.head_size);
  Attention a = arguments(context, packed.q, packed.k, packed.v);
  a.o = heads.view({batch, length, local_heads_, spec_.head_size});
  a.log_sum_exp = log_sum_exp;
  context.ops.attention_forward(a);
  output_.forward(context, heads, y);
}

void SelfAttention::backward(Context& context, std::int64_t batch, const Tensor& dy, const Tensor& dx) const {
  const std::int64_t rows = dy.size(0), length = rows / batch, width = local_heads_ * spec_.head_size;
  Tape::Scope scope(context.tape);
  const Tensor log_sum_exp = context.tape.pop();
  const Tensor heads = context.tape.pop();
  const Tensor qkv = context.tape.pop();
  const Tensor x = context.tape.pop();
  const Tensor d_heads = context.tape.scratch(context.act, {rows, width});
  const Tensor d_qkv = context.tape.scratch(context.act, {rows, 3 * width});

  output_.backward(context, heads, dy, d_heads);
  const PackedHeads packed = unpack(qkv, batch, local_heads_, spec_.head_size);
  const PackedHeads d_packed = unpack(d_qkv, batch, local_heads_, spec_.head_size);
  Attention a = arguments(context, packed.q, packed.k, packed.v);
  a.o = heads.view({batch, length, local_heads_, spec_.head_size});
  a.log_sum_exp = log_sum_exp;
  AttentionGradients g;
  g.d_o = d_heads.view(a.o.shape);
  g.dq = d_packed.q;
  g.dk = d_packed.k;
  g.dv = d_packed.v;
  g.scratch = context.tape.scratch(
      DType::f32,
      {context.ops.attention_backward_scratch(batch, length, length, local_heads_, spec_.head_size)});
  context.ops.attention_backward(a, g);
  projection_.backward(context, x, d_qkv, dx);
}

void SelfAttention::forward_cached(Context& context, const Tensor& x, std::int64_t batch, std::int64_t first,
                                   const KeyValueCache& cache, const Tensor& y) const {
  const std::int64_t rows = x.size(0), length = rows / batch, width = local_heads_ * spec_.head_size;
  Tape::Scope scope(context.tape);
  const Tensor qkv = context.tape.scratch(context.act, {rows, 3 * width});
  const Tensor heads = context.tape.scratch(context.act, {rows, width});
  projection_.forward(context, x, qkv);
  const PackedHeads packed = unpack(qkv, batch, local_heads_, spec_.head_size);
  context.ops.copy(packed.k, cache.keys.slice(1, first, first + length));
  context.ops.copy(packed.v, cache.values.slice(1, first, first + length));

  Attention a =
      arguments(context, packed.q, cache.keys.slice(1, 0, first + length), cache.values.slice(1, 0, first + length));
  a.o = heads.view({batch, length, local_heads_, spec_.head_size});
  a.log_sum_exp = context.tape.scratch(DType::f32, {batch, local_heads_, length});
  context.ops.attention_forward(a);
  output_.forward(context, heads, y);
}

// --- FeedForward ---

FeedForward::FeedForward(ParameterTable& table, const FeedForwardSpec& spec)
    : spec_(spec),
      local_ffn_(spec.ffn_size / table.ranks()),
      up_(table, {spec.up, spec.hidden_size, (spec.gated ? 2 : 1) * spec.ffn_size, spec.bias, spec.layout,
                  spec.gated ? 2 : 1, spec.up_initializer}),
      down_(table, {spec.down, spec.ffn_size, spec.hidden_size, spec.bias, spec.layout, 1, spec.down_initializer}) {}

void FeedForward::forward(Context& context, const Tensor& x, const Tensor& y) const {
  const std::int64_t rows = x.size(0);
  Tape::Scope scope(context.tape);
  if (!context.training && !spec_.gated) {
    const Tensor inner = context.tape.scratch(context.act, {rows, local_ffn_});
    up_.forward(context, x, inner, spec_.activation);
    down_.forward(context, inner, y);
    return;
  }
  const auto keep = [&](Shape shape) {
    return context.training ? context.tape.push(context.act, shape) : context.tape.scratch(context.act, shape);
  };
  if (context.training) context.tape.keep(x);
  const Tensor before = keep({rows, up_.local_out()});
  const Tensor inner = keep({rows, local_ffn_});
  if (spec_.gated) {
    up_.forward(context, x, before);
    context.ops.gated_forward(spec_.activation, before, inner);
  } else {
    up_.forward(context, x, inner, spec_.activation, before);
  }
  down_.forward(context, inner, y);
}

void FeedForward::backward(Context& context, const Tensor& dy, const Tensor& dx) const {
  const std::int64_t rows = dy.size(0);
  Tape::Scope scope(context.tape);
  const Tensor inner = context.tape.pop();
  const Tensor before = context.tape.pop();
  const Tensor x = context.tape.pop();
  const Tensor d_inner = context.tape.scratch(context.act, {rows, local_ffn_});
  if (spec_.gated) {
    down_.backward(context, inner, dy, d_inner);
    const Tensor d_before = context.tape.scratch(context.act, {rows, up_.local_out()});
    context.ops.gated_backward(spec_.activation, before, d_inner, d_before);
    up_.backward(context, x, d_before, dx);
  } else {
    down_.backward(context, inner, dy, d_inner, spec_.activation, before);
    up_.backward(context, x, d_inner, dx);
  }
}

// --- ResidualDropout ---

namespace {

// [B*T, C] as [B, T, C]: dropout counts samples along the first dimension.
Tensor by_sample(const Tensor& x, std::int64_t batch) {
  return x.view({batch, x.size(0) / batch, x.size(1)});
}

}  // namespace

ResidualDropout::ResidualDropout(float probability, std::uint64_t seed, const std::string& name)
    : probability_(probability), key_(philox_key(seed, "dropout/" + name)) {}

void ResidualDropout::forward(Context& context, const Tensor& x, const RowParallelLinear& linear,
                              const Tensor& residual, std::int64_t batch, const Tensor& out) const {
  context.ops.bias_dropout_residual(by_sample(x, batch), linear.bias_value(), by_sample(residual, batch),
                                    context.dropout(probability_, key_), by_sample(out, batch));
}

void ResidualDropout::forward(Context& context, const Tensor& x, const RowParallelLinear& linear,
                              const Tensor& residual, std::int64_t batch, const Tensor& out, const Norm& norm,
                              const Tensor& normed) const {
  ResidualNorm operation;
  operation.x = by_sample(x, batch);
  operation.bias = linear.bias_value();
  operation.residual = by_sample(residual, batch);
  operation.dropout = context.dropout(probability_, key_);
  operation.out = by_sample(out, batch);
  operation.y = by_sample(normed, batch);
  norm.describe(context, out, operation);
  context.ops.residual_norm_forward(operation);
}

Tensor ResidualDropout::backward(Context& context, const Tensor& dout, const RowParallelLinear& linear,
                                 std::int64_t batch, const Tensor& dx) const {
  if (probability_ == 0.0f) {
    if (linear.bias()) {
      context.ops.bias_gradient(dout, linear.bias_gradient());
      context.gradient_ready(*linear.bias());
    }
    return dout;
  }
  context.ops.bias_dropout_residual_backward(by_sample(dout, batch), context.dropout(probability_, key_),
                                             by_sample(dx, batch), linear.bias_gradient());
  if (linear.bias()) context.gradient_ready(*linear.bias());
  return dx;
}

}  // namespace heddle
