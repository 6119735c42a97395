// Multi-head attention sub-layers (Vaswani et al. 2017, section 3.2), the heads dealt to the tensor-parallel ranks.
#pragma once

#include <string>
#include <vector>

#include "trainer/models/sub_layer.h"

namespace heddle {

struct AttentionSpec {
  // Names of the projections to Q, K and V: one for all three packed together, or one for each. For cross-attention
  // three.
  std::vector<std::string> projections;
  std::string output;
  std::int64_t hidden_size = 0, num_heads = 0, head_size = 0;
  bool causal = true;
  bool bias = true;
  WeightLayout layout = WeightLayout::in_out;
  float dropout = 0;
  std::uint64_t seed = 0;
  Initializer projection_initializer, output_initializer;
};

// What self-attention and cross-attention have in common: heads, dropout, the output projection.
class AttentionHeads {
 public:
  AttentionHeads(const ParameterTable& table, const AttentionSpec& spec);

  std::int64_t count() const { return count_; }  // on this rank
  std::int64_t size() const { return size_; }
  std::int64_t width() const { return count_ * size_; }
  Attention arguments(Context& context, bool causal, const Tensor& q, const Tensor& k, const Tensor& v) const;
  // softmax(q k^T) v into heads [rows, width]; what the backward needs beside q, k, v and heads is log_sum_exp.
  void attend(Context& context, Attention a, const Tensor& heads, const Tensor& log_sum_exp) const;
  void attend_backward(Context& context, Attention a, const Tensor& heads, const Tensor& log_sum_exp,
                       const Tensor& d_heads, AttentionGradients gradients) const;
  // Tells the context's observer, if any, what is attended to.
  void observe(Context& context, const Attention& a) const;

 private:
  std::string name_;
  std::int64_t total_, count_, size_;
  float dropout_;
  std::uint64_t dropout_key_;
};

class SelfAttention final : public SubLayer {
 public:
  SelfAttention(ParameterTable& table, const AttentionSpec& spec);

  void forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const override;
  void backward(Context& context, const Flow& flow, const Tensor& dy, const Tensor& dx) const override;
  const RowParallelLinear& output() const override { return output_; }

 private:
  void forward_cached(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const;

  bool causal_;
  AttentionHeads heads_;
  ColumnParallelLinear projection_;
  RowParallelLinear output_;
};

// Queries from the decoder, keys and values from the encoder's output.
class CrossAttention final : public SubLayer {
 public:
  CrossAttention(ParameterTable& table, const AttentionSpec& spec);

  void forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const override;
  // Adds this rank's part of the memory's gradient to flow.memory->gradient.
  void backward(Context& context, const Flow& flow, const Tensor& dy, const Tensor& dx) const override;
  const RowParallelLinear& output() const override { return output_; }

  // Before decoding: keys and values of the memory, once for all steps.
  void fill_cache(Context& context, const EncoderMemory& memory, std::int64_t sources,
                  const KeyValueCache& cache) const;

 private:
  AttentionHeads heads_;
  ColumnParallelLinear query_, memory_;
  RowParallelLinear output_;
};

}  // namespace heddle
