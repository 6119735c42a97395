#include "parallel/linear.h"

#include "kernels/error.h"

namespace heddle {

namespace {

Shape weight_shape(const LinearSpec& spec) {
  return spec.layout == WeightLayout::in_out ? Shape{spec.in, spec.out} : Shape{spec.out, spec.in};
}

Parameter* add_weight(ParameterTable& table, const LinearSpec& spec, Sharding sharding) {
  return &table.add({spec.name + ".weight", weight_shape(spec), sharding, spec.initializer, /*decay=*/true});
}

Parameter* add_bias(ParameterTable& table, const LinearSpec& spec, Sharding sharding) {
  if (!spec.bias) return nullptr;
  return &table.add({spec.name + ".bias", {spec.out}, sharding, Initializer::zeros(), /*decay=*/false});
}

void check_divides(const ParameterTable& table, const LinearSpec& spec, std::int64_t width) {
  if (width % (static_cast<std::int64_t>(table.ranks()) * spec.groups) != 0)
    throw usage_error("{}: width {} does not divide by tensor_parallel = {}", spec.name, width / spec.groups,
                      table.ranks());
}

// x W for either storage of W.
Matmul times_weight(const Tensor& x, const Parameter& weight, WeightLayout layout, const Tensor& y) {
  Matmul m;
  m.a = x;
  m.b = weight.value;
  m.c = y;
  m.transpose_b = layout == WeightLayout::out_in;
  m.b_is_parameter = true;
  return m;
}

void input_gradient(Context& context, const Tensor& dy, const Parameter& weight, WeightLayout layout,
                    const Tensor& dx, Activation activation = Activation::none, const Tensor& pre_activation = {}) {
  Matmul m = times_weight(dy, weight, layout, dx);
  m.transpose_b = !m.transpose_b;
  m.activation_backward = static_cast<bool>(pre_activation);
  m.activation = activation;
  m.pre_activation = pre_activation;
  context.ops.matmul(m);
}

// `bias`: null if its gradient is formed elsewhere.
void weight_gradient(Context& context, const Tensor& x, const Tensor& dy, const Parameter& weight,
                     WeightLayout layout, const Parameter* bias = nullptr) {
  Matmul m;
  m.a = layout == WeightLayout::in_out ? x : dy;
  m.b = layout == WeightLayout::in_out ? dy : x;
  m.c = weight.gradient;
  m.transpose_a = true;
  m.accumulate = true;
  if (bias) (layout == WeightLayout::in_out ? m.b_sums : m.a_sums) = bias->gradient;
  context.ops.matmul(m);
  context.gradient_ready(weight);
  if (bias) context.gradient_ready(*bias);
}

}  // namespace

ColumnParallelLinear::ColumnParallelLinear(ParameterTable& table, const LinearSpec& spec) : layout_(spec.layout) {
  check_divides(table, spec, spec.out);
  const int out_dim = spec.layout == WeightLayout::in_out ? 1 : 0;
  weight_ = add_weight(table, spec, {out_dim, spec.groups, 1});
  bias_ = add_bias(table, spec, {0, spec.groups, 1});
  local_out_ = spec.out / table.ranks();
}

void ColumnParallelLinear::forward(Context& context, const Tensor& x, const Tensor& y, Activation activation,
                                   const Tensor& pre_activation) const {
  Matmul m = times_weight(x, *weight_, layout_, y);
  if (bias_) m.bias = bias_->value;
  m.activation = activation;
  m.pre_activation = pre_activation;
  m.row_invariant = context.row_invariant;
  context.ops.matmul(m);
}

void ColumnParallelLinear::backward(Context& context, const Tensor& x, const Tensor& dy, const Tensor& dx) const {
  input_gradient(context, dy, *weight_, layout_, dx);
  context.sum_over_tensor_group(dx, "column linear backward");
  weight_gradient(context, x, dy, *weight_, layout_, bias_);
}

RowParallelLinear::RowParallelLinear(ParameterTable& table, const LinearSpec& spec) : layout_(spec.layout) {
  check_divides(table, spec, spec.in);
  const int in_dim = spec.layout == WeightLayout::in_out ? 0 : 1;
  weight_ = add_weight(table, spec, {in_dim, 1, 1});
  bias_ = add_bias(table, spec, {});
}

void RowParallelLinear::forward(Context& context, const Tensor& x, const Tensor& y) const {
  Matmul m = times_weight(x, *weight_, layout_, y);
  m.row_invariant = context.row_invariant;
  context.ops.matmul(m);
  context.sum_over_tensor_group(y, "row linear");
}

void RowParallelLinear::backward(Context& context, const Tensor& x, const Tensor& dy, const Tensor& dx,
                                 Activation activation, const Tensor& pre_activation) const {
  input_gradient(context, dy, *weight_, layout_, dx, activation, pre_activation);
  weight_gradient(context, x, dy, *weight_, layout_);
}

}  // namespace heddle
