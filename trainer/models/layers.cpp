#include "trainer/models/layers.h"

#include "kernels/philox.h"

namespace heddle {

// --- Norm ---

Norm::Norm(ParameterTable& table, const std::string& name, NormKind kind, std::int64_t width, float epsilon, bool bias)
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

// --- FeedForward ---

Activation activation_of(FeedForwardKind kind) {
  switch (kind) {
    case FeedForwardKind::gelu_tanh: return Activation::gelu_tanh;
    case FeedForwardKind::gelu_erf: return Activation::gelu_erf;
    case FeedForwardKind::relu: return Activation::relu;
    case FeedForwardKind::swiglu: return Activation::silu;
  }
  return Activation::none;
}

FeedForward::FeedForward(ParameterTable& table, const FeedForwardSpec& spec)
    : spec_(spec),
      local_ffn_(spec.ffn_size / table.ranks()),
      dropout_key_(philox_key(spec.seed, "dropout/" + spec.up)),
      up_(table, {{spec.up},
                  spec.hidden_size,
                  (spec.gated ? 2 : 1) * spec.ffn_size,
                  spec.bias,
                  spec.layout,
                  spec.gated ? 2 : 1,
                  spec.up_initializer}),
      down_(table, {{spec.down}, spec.ffn_size, spec.hidden_size, spec.bias, spec.layout, 1, spec.down_initializer}) {}

void FeedForward::drop(Context& context, const Flow& flow, const Tensor& inner) const {
  Dropout dropout = context.dropout(spec_.dropout, dropout_key_);
  if (dropout.probability == 0) return;
  dropout.columns = spec_.ffn_size;
  dropout.first_column = context.mesh.tensor_rank() * local_ffn_;
  const Tensor by_sample = inner.view({flow.samples, inner.size(0) / flow.samples, local_ffn_});
  context.ops.dropout(by_sample, dropout, by_sample);
}

void FeedForward::forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const {
  const std::int64_t rows = x.size(0);
  Tape::Scope scope(context.tape);
  if (!context.training && !spec_.gated) {
    const Tensor inner = context.tape.scratch(context.act, {rows, local_ffn_});
    up_.forward(context, x, inner, spec_.activation);
    down_.forward(context, inner, y);
    return;
  }
  if (context.training) context.tape.keep(x);
  const Tensor before = keep_for_backward(context, context.act, {rows, up_.local_out()});
  const Tensor inner = keep_for_backward(context, context.act, {rows, local_ffn_});
  if (spec_.gated) {
    up_.forward(context, x, before);
    context.ops.gated_forward(spec_.activation, before, inner);
  } else {
    up_.forward(context, x, inner, spec_.activation, before);
  }
  drop(context, flow, inner);
  down_.forward(context, inner, y);
}

void FeedForward::backward(Context& context, const Flow& flow, const Tensor& dy, const Tensor& dx) const {
  const std::int64_t rows = dy.size(0);
  Tape::Scope scope(context.tape);
  const Tensor inner = context.tape.pop();
  const Tensor before = context.tape.pop();
  const Tensor x = context.tape.pop();
  const Tensor d_inner = context.tape.scratch(context.act, {rows, local_ffn_});
  const bool drops = spec_.dropout > 0 && context.training;
  if (spec_.gated || drops) {
    down_.backward(context, inner, dy, d_inner);
    drop(context, flow, d_inner);
  } else {
    down_.backward(context, inner, dy, d_inner, spec_.activation, before);
  }
  if (spec_.gated) {
    const Tensor d_before = context.tape.scratch(context.act, {rows, up_.local_out()});
    context.ops.gated_backward(spec_.activation, before, d_inner, d_before);
    up_.backward(context, x, d_before, dx);
  } else {
    if (drops) context.ops.activation_backward(spec_.activation, before, d_inner, d_inner);
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
