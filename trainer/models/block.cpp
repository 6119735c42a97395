#include "trainer/models/block.h"

#include <utility>

#include "kernels/profiler.h"

namespace heddle {

AttentionSpec attention_spec(const ModelOptions& options, std::uint64_t seed) {
  AttentionSpec spec;
  spec.hidden_size = options.hidden_size;
  spec.num_heads = options.num_heads;
  spec.head_size = options.head_size_in_use();
  spec.bias = options.bias && options.attention_bias;
  spec.dropout = static_cast<float>(options.attention_dropout_in_use());
  spec.seed = seed;
  return spec;
}

FeedForwardSpec feed_forward_spec(const ModelOptions& options, std::uint64_t seed) {
  FeedForwardSpec spec;
  spec.hidden_size = options.hidden_size;
  spec.ffn_size = options.ffn_size_in_use();
  spec.activation = activation_of(options.activation);
  spec.gated = options.activation == FeedForwardKind::swiglu;
  spec.bias = options.bias;
  spec.dropout = static_cast<float>(options.ffn_dropout);
  spec.seed = seed;
  return spec;
}

namespace {

Norm make_norm(ParameterTable& table, const std::string& name, const ModelOptions& options) {
  return Norm(table, name, options.norm, options.hidden_size, static_cast<float>(options.norm_epsilon), options.bias);
}

}  // namespace

// --- Block ---

// Parameters are added in the order in which the forward uses them: the backward completes their gradients from the
// end, and so do the buckets.
void Block::add(ParameterTable& table, const ModelOptions& options, std::uint64_t seed, const BlockSpec::Part& names,
                const std::function<std::unique_ptr<SubLayer>()>& make) {
  Part part;
  if (position_ == NormPosition::pre) part.norm.emplace(make_norm(table, names.norm, options));
  part.layer = make();
  if (position_ == NormPosition::post) part.norm.emplace(make_norm(table, names.norm, options));
  part.residual.emplace(static_cast<float>(options.dropout), seed, names.residual);
  parts_.push_back(std::move(part));
}

Block::Block(ParameterTable& table, const ModelOptions& options, std::uint64_t seed, const BlockSpec& spec)
    : position_(options.norm_position) {
  add(table, options, seed, spec.self_part,
      [&] { return std::make_unique<SelfAttention>(table, spec.self_attention); });
  if (spec.cross_attention)
    add(table, options, seed, spec.cross_part, [&] {
      auto layer = std::make_unique<CrossAttention>(table, *spec.cross_attention);
      cross_attention_ = layer.get();
      return layer;
    });
  add(table, options, seed, spec.feed_forward_part,
      [&] { return std::make_unique<FeedForward>(table, spec.feed_forward); });
}

void Block::forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& out) const {
  Tape::Scope scope(context.tape);
  if (position_ == NormPosition::pre)
    forward_pre(context, flow, x, out);
  else
    forward_post(context, flow, x, out);
}

void Block::forward_pre(Context& context, const Flow& flow, const Tensor& x, const Tensor& out) const {
  const Tensor branch = context.tape.scratch(context.act, x.shape);
  Tensor residual = x, normed = keep_for_backward(context, context.act, x.shape);
  parts_.front().norm->forward(context, x, normed);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    part.layer->forward(context, flow, normed, branch);
    if (i + 1 == parts_.size()) {
      part.residual->forward(context, branch, part.layer->output(), residual, flow.samples, out);
      break;
    }
    const Tensor sum = keep_for_backward(context, context.act, x.shape);
    normed = keep_for_backward(context, context.act, x.shape);
    part.residual->forward(context, branch, part.layer->output(), residual, flow.samples, sum, *parts_[i + 1].norm,
                           normed);
    residual = sum;
  }
}

void Block::forward_post(Context& context, const Flow& flow, const Tensor& x, const Tensor& out) const {
  const Tensor branch = context.tape.scratch(context.act, x.shape);
  Tensor in = x;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    part.layer->forward(context, flow, in, branch);
    const Tensor sum = keep_for_backward(context, context.act, x.shape);
    const Tensor normed = i + 1 == parts_.size() ? out : keep_for_backward(context, context.act, x.shape);
    part.residual->forward(context, branch, part.layer->output(), in, flow.samples, sum, *part.norm, normed);
    in = normed;
  }
}

void Block::backward(Context& context, const Flow& flow, const Tensor& gradient) const {
  Tape::Scope scope(context.tape);
  const Tensor d_branch = context.tape.scratch(context.act, gradient.shape);
  const Tensor d_masked = context.tape.scratch(context.act, gradient.shape);
  if (position_ == NormPosition::pre)
    backward_pre(context, flow, gradient, d_branch, d_masked);
  else
    backward_post(context, flow, gradient, d_branch, d_masked);
}

void Block::backward_pre(Context& context, const Flow& flow, const Tensor& gradient, const Tensor& d_branch,
                         const Tensor& d_masked) const {
  for (std::size_t i = parts_.size(); i-- > 0;) {
    const Part& part = parts_[i];
    const Tensor dy = part.residual->backward(context, gradient, part.layer->output(), flow.samples, d_masked);
    part.layer->backward(context, flow, dy, d_branch);
    part.norm->backward(context, d_branch, /*accumulate=*/true, gradient);
    context.tape.pop();             // the normed input
    if (i > 0) context.tape.pop();  // the sum before it
  }
}

void Block::backward_post(Context& context, const Flow& flow, const Tensor& gradient, const Tensor& d_branch,
                          const Tensor& d_masked) const {
  for (std::size_t i = parts_.size(); i-- > 0;) {
    const Part& part = parts_[i];
    part.norm->backward(context, gradient, /*accumulate=*/false, gradient);
    if (i + 1 < parts_.size()) context.tape.pop();  // the normed sum
    context.tape.pop();                             // the sum
    const Tensor dy = part.residual->backward(context, gradient, part.layer->output(), flow.samples, d_masked);
    part.layer->backward(context, flow, dy, d_branch);
    context.ops.add(gradient, d_branch, gradient);
  }
}

// --- Stack ---

Stack::Stack(ParameterTable& table, const ModelOptions& options, std::uint64_t seed, std::int64_t layers,
             const std::function<BlockSpec(std::int64_t)>& spec_of, const std::string& final_norm) {
  for (std::int64_t i = 0; i < layers; ++i) blocks_.emplace_back(table, options, seed, spec_of(i));
  if (options.norm_position == NormPosition::pre) final_norm_.emplace(make_norm(table, final_norm, options));
  stream_.resize(blocks_.size() + 1);
}

Tensor Stack::forward(Context& context, const Flow& flow, const Tensor& x) {
  Tape& tape = context.tape;
  stream_[0] = x;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    stream_[i + 1] = tape.push(context.act, x.shape);
    const std::size_t mark = tape.mark();
    const ProfilerRange range("block forward");
    blocks_[i].forward(context, flow, stream_[i], stream_[i + 1]);
    if (context.recompute_blocks) tape.rewind(mark);
  }
  if (!final_norm_) return stream_.back();
  const Tensor out = tape.push(context.act, x.shape);
  final_norm_->forward(context, stream_.back(), out);
  return out;
}

void Stack::backward(Context& context, const Flow& flow, const Tensor& gradient) {
  Tape& tape = context.tape;
  if (final_norm_) {
    final_norm_->backward(context, gradient, /*accumulate=*/false, gradient);
    tape.pop();  // the stack's output
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    const ProfilerRange range("block backward");
    if (context.recompute_blocks) blocks_[i].forward(context, flow, stream_[i], stream_[i + 1]);
    blocks_[i].backward(context, flow, gradient);
    tape.pop();  // stream_[i + 1]
  }
}

// Two buffers take turns.
Tensor Stack::run_blocks(Context& context, Flow flow, Tensor x, const std::vector<BlockCache>* caches) const {
  Tensor out = context.tape.scratch(context.act, x.shape);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (caches) flow.cache = &(*caches)[i];
    blocks_[i].forward(context, flow, x, out);
    std::swap(x, out);
  }
  return x;
}

Tensor Stack::normed(Context& context, const Tensor& x) const {
  if (!final_norm_) return x;
  const Tensor y = context.tape.scratch(context.act, x.shape);
  final_norm_->forward(context, x, y);
  return y;
}

Tensor Stack::infer(Context& context, Flow flow, Tensor x, const std::vector<BlockCache>* caches) const {
  return normed(context, run_blocks(context, flow, x, caches));
}

Tensor Stack::infer_last(Context& context, const Flow& flow, Tensor x, const std::vector<BlockCache>* caches) const {
  const Tensor all = run_blocks(context, flow, x, caches);
  const std::int64_t width = all.size(1), length = all.size(0) / flow.samples;
  const Tensor last = context.tape.scratch(context.act, {flow.samples, width});
  context.ops.copy(all.view({flow.samples, length, width}).slice(1, length - 1, length),
                   last.view({flow.samples, 1, width}));
  return normed(context, last);
}

}  // namespace heddle
