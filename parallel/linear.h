// Linear layers split over the tensor-parallel group. Shoeybi et al. 2019 (Megatron-LM), section 3.
//
//   ColumnParallelLinear  splits the outputs: y_r = x W_r + b_r. x is whole on every rank; y is this rank's part.
//                         Backward: dx is summed over the group.
//   RowParallelLinear     splits the inputs: y = sum over ranks of x_r W_r. x is this rank's part; y is whole.
//                         The bias is not added here: bias_dropout_residual adds it once, after the sum.
// A column layer followed by a row layer needs one all-reduce forward and one backward.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "parallel/context.h"
#include "parallel/parameters.h"

namespace heddle {

// How the weight is stored, after the model family's files: GPT-2's Conv1D is [in, out], others are [out, in].
enum class WeightLayout { in_out, out_in };

struct LinearSpec {
  // Parameters are name + ".weight" and ".bias". Several names: the outputs are as many equal groups, each a parameter
  // of its own (Q, K and V as Hugging Face's models have them), computed as one product. out_in column layers only.
  std::vector<std::string> names;
  std::int64_t in = 0, out = 0;
  bool bias = true;
  WeightLayout layout = WeightLayout::in_out;
  int groups = 1;    // outputs packed in one parameter (Q|K|V): each group is split by itself. Column layers only
  Initializer initializer;
};

// Parameters that lie one behind the other in memory and are used as one.
class JoinedParameters {
 public:
  JoinedParameters() = default;
  // rows of one parameter below those of the next: all have the same shape.
  explicit JoinedParameters(std::vector<Parameter*> parts) : parts_(std::move(parts)) {}

  explicit operator bool() const { return !parts_.empty(); }
  Tensor value() const { return whole(parts_.front()->value); }
  Tensor gradient() const { return whole(parts_.front()->gradient); }
  void gradient_ready(Context& context) const {
    for (const Parameter* part : parts_) context.gradient_ready(*part);
  }

 private:
  Tensor whole(const Tensor& first) const;

  std::vector<Parameter*> parts_;
};

class ColumnParallelLinear {
 public:
  ColumnParallelLinear(ParameterTable& table, const LinearSpec& spec);

  // x [N, in] -> y [N, out / ranks] = activation(x W + b); the value before the activation goes to
  // `pre_activation` if that is not null.
  void forward(Context& context, const Tensor& x, const Tensor& y, Activation activation = Activation::none,
               const Tensor& pre_activation = {}) const;
  // dy [N, out / ranks] -> dx [N, in], summed over the group; gradients of weight and bias are added. Where several
  // layers read the same x, their dx may be left unsummed and the group sum the total once.
  enum class InputGradient { summed, partial };
  void backward(Context& context, const Tensor& x, const Tensor& dy, const Tensor& dx,
                InputGradient input_gradient = InputGradient::summed) const;

  std::int64_t local_out() const { return local_out_; }

 private:
  WeightLayout layout_;
  std::int64_t local_out_;
  JoinedParameters weight_, bias_;
};

class RowParallelLinear {
 public:
  RowParallelLinear(ParameterTable& table, const LinearSpec& spec);

  // x [N, in / ranks] -> y [N, out], summed over the group, without bias.
  void forward(Context& context, const Tensor& x, const Tensor& y) const;
  // dy [N, out], whole on every rank -> dx [N, in / ranks]. The bias gradient is the caller's (see bias()).
  // Where x = activation(pre_activation), dx is the gradient of pre_activation if both are given.
  void backward(Context& context, const Tensor& x, const Tensor& dy, const Tensor& dx,
                Activation activation = Activation::none, const Tensor& pre_activation = {}) const;

  Parameter* bias() const { return bias_; }  // null if the layer has none
  Tensor bias_value() const { return bias_ ? bias_->value : Tensor(); }
  Tensor bias_gradient() const { return bias_ ? bias_->gradient : Tensor(); }

 private:
  WeightLayout layout_;
  Parameter* weight_;
  Parameter* bias_ = nullptr;
};

}  // namespace heddle
