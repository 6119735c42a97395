// What blocks are built from beside attention: normalisation, the feed-forward sub-layer and the residual connection.
// When training, each forward keeps on the tape what its backward pops, its input included; the input's and output's
// memory belongs to the caller and must last until that backward.
#pragma once

#include <string>

#include "parallel/parameters.h"
#include "trainer/config/options.h"
#include "trainer/models/sub_layer.h"

namespace heddle {

class Norm {
 public:
  // Parameters name + ".weight" and, for a layer norm with bias, name + ".bias".
  Norm(ParameterTable& table, const std::string& name, NormKind kind, std::int64_t width, float epsilon, bool bias);

  // x [N, C] -> y [N, C].
  void forward(Context& context, const Tensor& x, const Tensor& y) const;
  // For an operation that makes x and its norm in one pass: keeps what backward() needs and says what to do.
  void describe(Context& context, const Tensor& x, ResidualNorm& operation) const;
  // dx = (accumulate: dx +) the gradient of x.
  void backward(Context& context, const Tensor& dy, bool accumulate, const Tensor& dx) const;

 private:
  struct Statistics {
    Tensor mean, rstd;  // null where no backward follows
  };
  Statistics keep(Context& context, const Tensor& x) const;

  NormKind kind_;
  float epsilon_;
  Parameter* weight_;
  Parameter* bias_ = nullptr;
};

struct FeedForwardSpec {
  std::string up, down;  // names of the two projections
  std::int64_t hidden_size = 0, ffn_size = 0;
  Activation activation = Activation::gelu_tanh;
  bool gated = false;  // activation(gate) * up, both packed in the first projection (SwiGLU for silu)
  bool bias = true;
  WeightLayout layout = WeightLayout::in_out;
  float dropout = 0;  // behind the activation
  std::uint64_t seed = 0;
  Initializer up_initializer, down_initializer;
};

Activation activation_of(FeedForwardKind kind);  // of the gate for swiglu

// Position-wise feed-forward network, its inner width split over the tensor-parallel ranks.
class FeedForward final : public SubLayer {
 public:
  FeedForward(ParameterTable& table, const FeedForwardSpec& spec);

  void forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const override;
  void backward(Context& context, const Flow& flow, const Tensor& dy, const Tensor& dx) const override;
  const RowParallelLinear& output() const override { return down_; }

 private:
  // inner = dropout(inner), also its own backward.
  void drop(Context& context, const Flow& flow, const Tensor& inner) const;

  FeedForwardSpec spec_;
  std::int64_t local_ffn_;
  std::uint64_t dropout_key_;
  ColumnParallelLinear up_;
  RowParallelLinear down_;
};

// out = residual + dropout(x + bias) and its backward around a sub-layer whose last projection is `linear`.
class ResidualDropout {
 public:
  ResidualDropout(float probability, std::uint64_t seed, const std::string& name);

  // x, residual, out: [B*T, C].
  void forward(Context& context, const Tensor& x, const RowParallelLinear& linear, const Tensor& residual,
               std::int64_t batch, const Tensor& out) const;
  // The same and, in the same pass, normed = norm(out).
  void forward(Context& context, const Tensor& x, const RowParallelLinear& linear, const Tensor& residual,
               std::int64_t batch, const Tensor& out, const Norm& norm, const Tensor& normed) const;
  // dout -> the gradient of x, in dx or, without dropout, dout itself: returns which. The bias gradient is added.
  Tensor backward(Context& context, const Tensor& dout, const RowParallelLinear& linear, std::int64_t batch,
                  const Tensor& dx) const;

 private:
  float probability_;
  std::uint64_t key_;
};

}  // namespace heddle
