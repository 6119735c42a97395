// The blocks that models are built from: normalisation, attention and feed-forward sub-layers. When training, each
// forward keeps on the tape what its backward pops, its input included; the input's and output's memory belongs to
// the caller and must last until that backward.
#pragma once

#include <string>

#include "parallel/context.h"
#include "parallel/linear.h"
#include "parallel/parameters.h"
#include "trainer/config/options.h"

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

// Keys and values of the tokens seen so far, for decoding. [B, capacity, local heads, D] each.
struct KeyValueCache {
  Tensor keys, values;
};

struct AttentionSpec {
  std::string projection, output;  // names of the packed Q|K|V projection and of the output projection
  std::int64_t hidden_size = 0, num_heads = 0, head_size = 0;
  bool causal = true;
  bool bias = true;
  WeightLayout layout = WeightLayout::in_out;
  float dropout = 0;
  std::uint64_t seed = 0;
  Initializer projection_initializer, output_initializer;
};

// Multi-head self-attention with the heads dealt to the tensor-parallel ranks.
class SelfAttention {
 public:
  SelfAttention(ParameterTable& table, const AttentionSpec& spec);

  // x [B*T, C] -> y [B*T, C], without the output bias (see output()).
  void forward(Context& context, const Tensor& x, std::int64_t batch, const Tensor& y) const;
  void backward(Context& context, std::int64_t batch, const Tensor& dy, const Tensor& dx) const;
  // The tokens at positions [first, first + T) of each row; their keys and values join the cache.
  void forward_cached(Context& context, const Tensor& x, std::int64_t batch, std::int64_t first,
                      const KeyValueCache& cache, const Tensor& y) const;

  std::int64_t local_heads() const { return local_heads_; }
  const RowParallelLinear& output() const { return output_; }

 private:
  Attention arguments(Context& context, const Tensor& q, const Tensor& k, const Tensor& v) const;

  AttentionSpec spec_;
  std::int64_t local_heads_;
  std::uint64_t dropout_key_;
  ColumnParallelLinear projection_;
  RowParallelLinear output_;
};

struct FeedForwardSpec {
  std::string up, down;  // names of the two projections
  std::int64_t hidden_size = 0, ffn_size = 0;
  Activation activation = Activation::gelu_tanh;
  bool gated = false;  // activation(gate) * up, both packed in the first projection (SwiGLU for silu)
  bool bias = true;
  WeightLayout layout = WeightLayout::in_out;
  Initializer up_initializer, down_initializer;
};

// Position-wise feed-forward network, its inner width split over the tensor-parallel ranks.
class FeedForward {
 public:
  FeedForward(ParameterTable& table, const FeedForwardSpec& spec);

  // x [N, C] -> y [N, C], without the output bias (see output()).
  void forward(Context& context, const Tensor& x, const Tensor& y) const;
  void backward(Context& context, const Tensor& dy, const Tensor& dx) const;

  const RowParallelLinear& output() const { return down_; }

 private:
  FeedForwardSpec spec_;
  std::int64_t local_ffn_;
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
