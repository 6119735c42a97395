#include "trainer/models/attention.h"

#include <cmath>

#include "kernels/error.h"
#include "parallel/attention_observer.h"

namespace heddle {

namespace {

std::int64_t split_heads(const AttentionSpec& spec, int ranks) {
  if (spec.num_heads % ranks != 0)
    throw usage_error("{}: {} heads do not divide among tensor_parallel = {} ranks", spec.projections.front(),
                      spec.num_heads, ranks);
  return spec.num_heads / ranks;
}

// A projection from the residual stream to parts [begin, end) of Q, K and V.
LinearSpec projection_spec(const AttentionSpec& spec, std::size_t begin, std::size_t end) {
  const std::int64_t width = spec.num_heads * spec.head_size;
  LinearSpec linear;
  linear.in = spec.hidden_size;
  linear.bias = spec.bias;
  linear.layout = spec.layout;
  linear.initializer = spec.projection_initializer;
  linear.out = static_cast<std::int64_t>(end - begin) * width;
  if (spec.projections.size() == 1) {
    linear.names = spec.projections;
    linear.groups = static_cast<int>(end - begin);
  } else {
    linear.names.assign(spec.projections.begin() + static_cast<std::ptrdiff_t>(begin),
                        spec.projections.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return linear;
}

LinearSpec output_spec(const AttentionSpec& spec) {
  return {{spec.output},          spec.num_heads * spec.head_size, spec.hidden_size, spec.bias, spec.layout, 1,
          spec.output_initializer};
}

// Part `i` of `parts` packed side by side, [rows, parts * H * D], as a strided [samples, T, H, D] view.
Tensor part(const Tensor& packed, int parts, int i, std::int64_t samples, std::int64_t heads, std::int64_t head_size) {
  const Tensor all = packed.view({samples, packed.size(0) / samples, parts, heads, head_size}).slice(2, i, i + 1);
  Tensor view;
  view.data = all.data;
  view.dtype = all.dtype;
  view.shape = {all.size(0), all.size(1), heads, head_size};
  view.stride = {all.stride[0], all.stride[1], all.stride[3], all.stride[4]};
  return view;
}

}  // namespace

// --- AttentionHeads ---

AttentionHeads::AttentionHeads(const ParameterTable& table, const AttentionSpec& spec)
    : name_(spec.output.substr(0, spec.output.rfind('.'))),
      total_(spec.num_heads),
      count_(split_heads(spec, table.ranks())),
      size_(spec.head_size),
      dropout_(spec.dropout),
      dropout_key_(philox_key(spec.seed, "dropout/" + spec.projections.front())) {}

Attention AttentionHeads::arguments(Context& context, bool causal, const Tensor& q, const Tensor& k,
                                    const Tensor& v) const {
  Attention a;
  a.q = q;
  a.k = k;
  a.v = v;
  a.scale = 1.0f / std::sqrt(static_cast<float>(size_));
  a.causal = causal;
  a.dropout = context.dropout(dropout_, dropout_key_);
  a.first_head = static_cast<std::int32_t>(context.mesh.tensor_rank() * count_);
  return a;
}

void AttentionHeads::attend(Context& context, Attention a, const Tensor& heads, const Tensor& log_sum_exp) const {
  a.o = heads.view({a.q.size(0), a.q.size(1), count_, size_});
  a.log_sum_exp = log_sum_exp;
  context.ops.attention_forward(a);
  observe(context, a);
}

void AttentionHeads::attend_backward(Context& context, Attention a, const Tensor& heads, const Tensor& log_sum_exp,
                                     const Tensor& d_heads, AttentionGradients gradients) const {
  a.o = heads.view({a.q.size(0), a.q.size(1), count_, size_});
  a.log_sum_exp = log_sum_exp;
  gradients.d_o = d_heads.view(a.o.shape);
  gradients.scratch = context.tape.scratch(
      DType::f32, {context.ops.attention_backward_scratch(a.q.size(0), a.q.size(1), a.k.size(1), count_, size_)});
  context.ops.attention_backward(a, gradients);
}

void AttentionHeads::observe(Context& context, const Attention& a) const {
  if (context.attention_observer) context.attention_observer->observe(context, name_, total_, a);
}

// --- SelfAttention ---

SelfAttention::SelfAttention(ParameterTable& table, const AttentionSpec& spec)
    : causal_(spec.causal),
      heads_(table, spec),
      projection_(table, projection_spec(spec, 0, 3)),
      output_(table, output_spec(spec)) {}

void SelfAttention::forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const {
  if (flow.cache) return forward_cached(context, flow, x, y);
  const std::int64_t rows = x.size(0), length = rows / flow.samples;
  Tape::Scope scope(context.tape);
  if (context.training) context.tape.keep(x);
  const Tensor qkv = keep_for_backward(context, context.act, {rows, 3 * heads_.width()});
  const Tensor heads = keep_for_backward(context, context.act, {rows, heads_.width()});
  const Tensor log_sum_exp = keep_for_backward(context, DType::f32, {flow.samples, heads_.count(), length});

  projection_.forward(context, x, qkv);
  const auto third = [&](int i) { return part(qkv, 3, i, flow.samples, heads_.count(), heads_.size()); };
  Attention a = heads_.arguments(context, causal_, third(0), third(1), third(2));
  a.key_lengths = flow.lengths;
  heads_.attend(context, a, heads, log_sum_exp);
  output_.forward(context, heads, y);
}

void SelfAttention::backward(Context& context, const Flow& flow, const Tensor& dy, const Tensor& dx) const {
  const std::int64_t rows = dy.size(0);
  Tape::Scope scope(context.tape);
  const Tensor log_sum_exp = context.tape.pop();
  const Tensor heads = context.tape.pop();
  const Tensor qkv = context.tape.pop();
  const Tensor x = context.tape.pop();
  const Tensor d_heads = context.tape.scratch(context.act, {rows, heads_.width()});
  const Tensor d_qkv = context.tape.scratch(context.act, {rows, 3 * heads_.width()});

  output_.backward(context, heads, dy, d_heads);
  const auto third = [&](const Tensor& packed, int i) {
    return part(packed, 3, i, flow.samples, heads_.count(), heads_.size());
  };
  Attention a = heads_.arguments(context, causal_, third(qkv, 0), third(qkv, 1), third(qkv, 2));
  a.key_lengths = flow.lengths;
  AttentionGradients g;
  g.dq = third(d_qkv, 0);
  g.dk = third(d_qkv, 1);
  g.dv = third(d_qkv, 2);
  heads_.attend_backward(context, a, heads, log_sum_exp, d_heads, g);
  projection_.backward(context, x, d_qkv, dx);
}

void SelfAttention::forward_cached(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const {
  const std::int64_t rows = x.size(0), length = rows / flow.samples, end = flow.first + length;
  Tape::Scope scope(context.tape);
  const Tensor qkv = context.tape.scratch(context.act, {rows, 3 * heads_.width()});
  const Tensor heads = context.tape.scratch(context.act, {rows, heads_.width()});
  const Tensor log_sum_exp = context.tape.scratch(DType::f32, {flow.samples, heads_.count(), length});
  projection_.forward(context, x, qkv);
  const auto third = [&](int i) { return part(qkv, 3, i, flow.samples, heads_.count(), heads_.size()); };
  const KeyValueCache& cache = flow.cache->tokens;
  context.ops.copy(third(1), cache.keys.slice(1, flow.first, end));
  context.ops.copy(third(2), cache.values.slice(1, flow.first, end));
  heads_.attend(
      context, heads_.arguments(context, causal_, third(0), cache.keys.slice(1, 0, end), cache.values.slice(1, 0, end)),
      heads, log_sum_exp);
  output_.forward(context, heads, y);
}

// --- CrossAttention ---

CrossAttention::CrossAttention(ParameterTable& table, const AttentionSpec& spec)
    : heads_(table, spec),
      query_(table, projection_spec(spec, 0, 1)),
      memory_(table, projection_spec(spec, 1, 3)),
      output_(table, output_spec(spec)) {}

void CrossAttention::forward(Context& context, const Flow& flow, const Tensor& x, const Tensor& y) const {
  const std::int64_t rows = x.size(0), heads_here = heads_.count(), size = heads_.size();
  const EncoderMemory& memory = *flow.memory;
  // The rows of a source ask the same keys: queries of one batch entry.
  const std::int64_t sources = flow.cache ? flow.sources : flow.samples;
  Tape::Scope scope(context.tape);
  if (context.training) context.tape.keep(x);
  const Tensor q = keep_for_backward(context, context.act, {rows, heads_.width()});
  const Tensor heads = keep_for_backward(context, context.act, {rows, heads_.width()});
  const Tensor log_sum_exp = keep_for_backward(context, DType::f32, {sources, heads_here, rows / sources});
  query_.forward(context, x, q);
  const Tensor by_source = q.view({sources, rows / sources, heads_here, size});
  Attention a;
  if (flow.cache) {
    a = heads_.arguments(context, false, by_source, flow.cache->memory.keys.slice(1, 0, memory.length),
                         flow.cache->memory.values.slice(1, 0, memory.length));
  } else {
    const Tensor kv = keep_for_backward(context, context.act, {sources * memory.length, 2 * heads_.width()});
    memory_.forward(context, memory.value, kv);
    a = heads_.arguments(context, false, by_source, part(kv, 2, 0, sources, heads_here, size),
                         part(kv, 2, 1, sources, heads_here, size));
  }
  a.key_lengths = memory.lengths;
  heads_.attend(context, a, heads, log_sum_exp);
  output_.forward(context, heads, y);
}

void CrossAttention::backward(Context& context, const Flow& flow, const Tensor& dy, const Tensor& dx) const {
  const std::int64_t rows = dy.size(0), samples = flow.samples, heads_here = heads_.count(), size = heads_.size();
  const EncoderMemory& memory = *flow.memory;
  Tape::Scope scope(context.tape);
  const Tensor kv = context.tape.pop();
  const Tensor log_sum_exp = context.tape.pop();
  const Tensor heads = context.tape.pop();
  const Tensor q = context.tape.pop();
  const Tensor x = context.tape.pop();
  const Tensor d_heads = context.tape.scratch(context.act, {rows, heads_.width()});
  const Tensor d_q = context.tape.scratch(context.act, {rows, heads_.width()});
  const Tensor d_kv = context.tape.scratch(context.act, kv.shape);

  output_.backward(context, heads, dy, d_heads);
  const Shape by_sample{samples, rows / samples, heads_here, size};
  Attention a = heads_.arguments(context, false, q.view(by_sample), part(kv, 2, 0, samples, heads_here, size),
                                 part(kv, 2, 1, samples, heads_here, size));
  a.key_lengths = memory.lengths;
  AttentionGradients g;
  g.dq = d_q.view(by_sample);
  g.dk = part(d_kv, 2, 0, samples, heads_here, size);
  g.dv = part(d_kv, 2, 1, samples, heads_here, size);
  heads_.attend_backward(context, a, heads, log_sum_exp, d_heads, g);
  query_.backward(context, x, d_q, dx);
  const Tensor d_memory = context.tape.scratch(context.act, memory.value.shape);
  memory_.backward(context, memory.value, d_kv, d_memory, ColumnParallelLinear::InputGradient::partial);
  context.ops.add(memory.gradient, d_memory, memory.gradient);
}

void CrossAttention::fill_cache(Context& context, const EncoderMemory& memory, std::int64_t sources,
                                const KeyValueCache& cache) const {
  Tape::Scope scope(context.tape);
  const Tensor kv = context.tape.scratch(context.act, {sources * memory.length, 2 * heads_.width()});
  memory_.forward(context, memory.value, kv);
  context.ops.copy(part(kv, 2, 0, sources, heads_.count(), heads_.size()), cache.keys.slice(1, 0, memory.length));
  context.ops.copy(part(kv, 2, 1, sources, heads_.count(), heads_.size()), cache.values.slice(1, 0, memory.length));
}

}  // namespace heddle
