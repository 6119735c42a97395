// A Transformer block and a stack of them.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/models/attention.h"
#include "trainer/models/layers.h"
#include "trainer/models/sub_layer.h"

namespace heddle {

// How a family names and initialises the parameters of a block. Everything else is the model's options.
struct BlockSpec {
  struct Part {
    std::string norm;      // "h.0.ln_1"
    std::string residual;  // names the dropout of the sub-layer's output: "h.0.attn"
  };
  AttentionSpec self_attention;
  std::optional<AttentionSpec> cross_attention;
  FeedForwardSpec feed_forward;
  Part self_part, cross_part, feed_forward_part;
};

// A specification with what all families take from the options alike; names and initialisers are still missing.
AttentionSpec attention_spec(const ModelOptions& options, std::uint64_t seed);
FeedForwardSpec feed_forward_spec(const ModelOptions& options, std::uint64_t seed);

// Sub-layers f, each with a residual connection and a norm:
//   pre   y = x + dropout(f(norm(x)))
//   post  y = norm(x + dropout(f(x)))  (Vaswani et al. 2017, section 3.1)
// The residual sum and the norm behind it are one pass over memory.
class Block {
 public:
  Block(ParameterTable& table, const ModelOptions& options, std::uint64_t seed, const BlockSpec& spec);

  // x -> out, both [N, C].
  void forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& out) const;
  // In: the gradient of the block's output. Out, in place: the gradient of its input.
  void backward(Context& context, const Flow& flow, const Tensor& gradient) const;

  const CrossAttention* cross_attention() const { return cross_attention_; }

 private:
  struct Part {
    std::optional<Norm> norm;
    std::unique_ptr<SubLayer> layer;
    std::optional<ResidualDropout> residual;
  };
  void add(ParameterTable& table, const ModelOptions& options, std::uint64_t seed, const BlockSpec::Part& names,
           const std::function<std::unique_ptr<SubLayer>()>& make);
  void forward_pre(Context& context, const Flow& flow, const Tensor& x, const Tensor& out) const;
  void forward_post(Context& context, const Flow& flow, const Tensor& x, const Tensor& out) const;
  void backward_pre(Context& context, const Flow& flow, const Tensor& gradient, const Tensor& d_branch,
                    const Tensor& d_masked) const;
  void backward_post(Context& context, const Flow& flow, const Tensor& gradient, const Tensor& d_branch,
                     const Tensor& d_masked) const;

  NormPosition position_;
  std::vector<Part> parts_;
  const CrossAttention* cross_attention_ = nullptr;
};

// Blocks one after the other and, if they are pre-norm, a norm at the end.
class Stack {
 public:
  // `spec_of(i)`: of block i. `final_norm`: its name.
  Stack(ParameterTable& table, const ModelOptions& options, std::uint64_t seed, std::int64_t layers,
        const std::function<BlockSpec(std::int64_t)>& spec_of, const std::string& final_norm);

  // Training: x -> the stack's output, both [N, C] on the tape (x is the caller's). backward() turns, in place, the
  // output's gradient into x's and pops all that forward() pushed, the output included.
  Tensor forward(Context& context, const Flow& flow, const Tensor& x);
  void backward(Context& context, const Flow& flow, const Tensor& gradient);

  // Without a backward. x is overwritten; the result is scratch of the caller's scope. `caches`: one per block, or
  // null.
  Tensor infer(Context& context, Flow flow, Tensor x, const std::vector<BlockCache>* caches = nullptr) const;
  // Only the last token's, [samples, C]: all that the next token's logits need.
  Tensor infer_last(Context& context, const Flow& flow, Tensor x, const std::vector<BlockCache>* caches) const;

  const std::deque<Block>& blocks() const { return blocks_; }

 private:
  Tensor run_blocks(Context& context, Flow flow, Tensor x, const std::vector<BlockCache>* caches) const;
  Tensor normed(Context& context, const Tensor& x) const;

  std::deque<Block> blocks_;
  std::vector<Tensor> stream_;  // before block 0, 1, ... and after the last
  std::optional<Norm> final_norm_;
};

}  // namespace heddle
