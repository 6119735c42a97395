#include "parallel/linear.h"

#include <cassert>

#include "kernels/error.h"

namespace heddle {

namespace {

// One parameter per name, each with its share of the outputs.
Shape weight_shape(const LinearSpec& spec) {
  const std::int64_t out = spec.out / static_cast<std::int64_t>(spec.names.size());
  return spec.layout == WeightLayout::in_out ? Shape{spec.in, out} : Shape{out, spec.in};
}

JoinedParameters add_weights(ParameterTable& table, const LinearSpec& spec, Sharding sharding) {
  assert(spec.names.size() == 1 || (spec.layout == WeightLayout::out_in && spec.groups == 1));
  std::vector<ParameterSpec> specs;
  for (const std::string& name : spec.names)
    specs.push_back({name + ".weight", weight_shape(spec), sharding, spec.initializer, /*decay=*/true});
  return JoinedParameters(table.add_joined(std::move(specs)));
}

JoinedParameters add_biases(ParameterTable& table, const LinearSpec& spec, Sharding sharding) {
  if (!spec.bias) return {};
  std::vector<ParameterSpec> specs;
  for (const std::string& name : spec.names)
    specs.push_back({name + ".bias",
                     {spec.out / static_cast<std::int64_t>(spec.names.size())},
                     sharding,
                     Initializer::zeros(),
                     /*decay=*/false});
  return JoinedParameters(table.add_joined(std::move(specs)));
}

void check_divides(const ParameterTable& table, const LinearSpec& spec, std::int64_t width) {
  const std::int64_t groups = spec.groups * static_cast<std::int64_t>(spec.names.size());
  if (width % (table.ranks() * groups) != 0)
    throw usage_error("{}: width {} does not divide by tensor_parallel = {}", spec.names.front(), width / groups,
                      table.ranks());
}

// x W for either storage of W.
Matmul times_weight(const Tensor& x, const Tensor& weight, WeightLayout layout, const Tensor& y) {
  Matmul m;
  m.a = x;
  m.b = weight;
  m.c = y;
  m.transpose_b = layout == WeightLayout::out_in;
  m.b_is_parameter = true;
  return m;
}

void input_gradient(Context& context, const Tensor& dy, const Tensor& weight, WeightLayout layout, const Tensor& dx,
                    Activation activation = Activation::none, const Tensor& pre_activation = {}) {
  Matmul m = times_weight(dy, weight, layout, dx);
  m.transpose_b = !m.transpose_b;
  m.activation_backward = static_cast<bool>(pre_activation);
  m.activation = activation;
  m.pre_activation = pre_activation;
  context.ops.matmul(m);
}

// `bias_gradient`: null if it is formed elsewhere.
void weight_gradient(Context& context, const Tensor& x, const Tensor& dy, const Tensor& gradient, WeightLayout layout,
                     const Tensor& bias_gradient = {}) {
  Matmul m;
  m.a = layout == WeightLayout::in_out ? x : dy;
  m.b = layout == WeightLayout::in_out ? dy : x;
  m.c = gradient;
  m.transpose_a = true;
  m.accumulate = true;
  if (bias_gradient) (layout == WeightLayout::in_out ? m.b_sums : m.a_sums) = bias_gradient;
  context.ops.matmul(m);
}

}  // namespace

Tensor JoinedParameters::whole(const Tensor& first) const {
  if (parts_.size() == 1) return first;
  Shape shape = first.shape;
  shape[0] *= static_cast<std::int64_t>(parts_.size());
  return Tensor(first.data, first.dtype, shape);
}

ColumnParallelLinear::ColumnParallelLinear(ParameterTable& table, const LinearSpec& spec) : layout_(spec.layout) {
  check_divides(table, spec, spec.out);
  const int out_dim = spec.layout == WeightLayout::in_out ? 1 : 0;
  weight_ = add_weights(table, spec, {out_dim, spec.groups, 1});
  bias_ = add_biases(table, spec, {0, spec.groups, 1});
  local_out_ = spec.out / table.ranks();
}

void ColumnParallelLinear::forward(Context& context, const Tensor& x, const Tensor& y, Activation activation,
                                   const Tensor& pre_activation) const {
  Matmul m = times_weight(x, weight_.value(), layout_, y);
  if (bias_) m.bias = bias_.value();
  m.activation = activation;
  m.pre_activation = pre_activation;
  m.row_invariant = context.row_invariant;
  context.ops.matmul(m);
}

void ColumnParallelLinear::backward(Context& context, const Tensor& x, const Tensor& dy, const Tensor& dx,
                                    InputGradient wanted) const {
  input_gradient(context, dy, weight_.value(), layout_, dx);
  if (wanted == InputGradient::summed) context.sum_over_tensor_group(dx, "column linear backward");
  weight_gradient(context, x, dy, weight_.gradient(), layout_, bias_ ? bias_.gradient() : Tensor());
  weight_.gradient_ready(context);
  if (bias_) bias_.gradient_ready(context);
}

RowParallelLinear::RowParallelLinear(ParameterTable& table, const LinearSpec& spec) : layout_(spec.layout) {
  assert(spec.names.size() == 1);
  check_divides(table, spec, spec.in);
  const int in_dim = spec.layout == WeightLayout::in_out ? 0 : 1;
  const std::string& name = spec.names.front();
  weight_ = &table.add({name + ".weight", weight_shape(spec), {in_dim, 1, 1}, spec.initializer, /*decay=*/true});
  if (spec.bias) bias_ = &table.add({name + ".bias", {spec.out}, {}, Initializer::zeros(), /*decay=*/false});
}

void RowParallelLinear::forward(Context& context, const Tensor& x, const Tensor& y) const {
  Matmul m = times_weight(x, weight_->value, layout_, y);
  m.row_invariant = context.row_invariant;
  context.ops.matmul(m);
  context.sum_over_tensor_group(y, "row linear");
}

void RowParallelLinear::backward(Context& context, const Tensor& x, const Tensor& dy, const Tensor& dx,
                                 Activation activation, const Tensor& pre_activation) const {
  input_gradient(context, dy, weight_->value, layout_, dx, activation, pre_activation);
  weight_gradient(context, x, dy, weight_->gradient, layout_);
  context.gradient_ready(*weight_);
}

}  // namespace heddle
