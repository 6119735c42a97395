// GPT: a stack of pre-norm decoder blocks over token and learned position embeddings (Radford et al. 2018, 2019;
// Brown et al. 2020). Parameter names, shapes and storage are those of Hugging Face's GPT2LMHeadModel: wte, wpe,
// h.N.{ln_1, attn.c_attn, attn.c_proj, ln_2, mlp.c_fc, mlp.c_proj}, ln_f; matrices are [in, out].
// model.norm, model.activation and model.bias vary the block (nanoGPT's bias-free models, RMSNorm, SwiGLU).

#include <fmt/format.h>

#include <cmath>
#include <deque>
#include <optional>
#include <type_traits>
#include <utility>

#include "parallel/vocabulary.h"
#include "kernels/profiler.h"
#include "trainer/models/layers.h"
#include "trainer/models/model.h"

namespace heddle {

namespace {

constexpr float kInitialDeviation = 0.02f;

Activation activation_of(FeedForwardKind kind) {
  switch (kind) {
    case FeedForwardKind::gelu_tanh: return Activation::gelu_tanh;
    case FeedForwardKind::gelu_erf: return Activation::gelu_erf;
    case FeedForwardKind::relu: return Activation::relu;
    case FeedForwardKind::swiglu: return Activation::silu;
  }
  return Activation::none;
}

AttentionSpec attention_spec(const ModelOptions& m, std::uint64_t seed, const std::string& prefix) {
  AttentionSpec spec;
  spec.projection = prefix + ".attn.c_attn";
  spec.output = prefix + ".attn.c_proj";
  spec.hidden_size = m.hidden_size;
  spec.num_heads = m.num_heads;
  spec.head_size = m.head_size_in_use();
  spec.bias = m.bias;
  spec.dropout = static_cast<float>(m.dropout);
  spec.seed = seed;
  spec.projection_initializer = Initializer::normal(kInitialDeviation);
  // GPT-2: projections into the residual stream start smaller, by the number of residual additions.
  spec.output_initializer =
      Initializer::normal(kInitialDeviation / std::sqrt(2.0f * static_cast<float>(m.num_layers)));
  return spec;
}

FeedForwardSpec feed_forward_spec(const ModelOptions& m, const std::string& prefix) {
  FeedForwardSpec spec;
  spec.up = prefix + ".mlp.c_fc";
  spec.down = prefix + ".mlp.c_proj";
  spec.hidden_size = m.hidden_size;
  spec.ffn_size = m.ffn_size_in_use();
  spec.activation = activation_of(m.activation);
  spec.gated = m.activation == FeedForwardKind::swiglu;
  spec.bias = m.bias;
  spec.up_initializer = Initializer::normal(kInitialDeviation);
  spec.down_initializer =
      Initializer::normal(kInitialDeviation / std::sqrt(2.0f * static_cast<float>(m.num_layers)));
  return spec;
}

// x -> middle = x + attention(norm(x)) -> out = middle + feed_forward(norm(middle)); [B*T, C] each.
class GptBlock {
 public:
  GptBlock(const ModelOptions& m, std::uint64_t seed, const std::string& prefix,
           ParameterTable& table)
      : norm1_(table, prefix + ".ln_1", m.norm, m.hidden_size, static_cast<float>(m.norm_epsilon), m.bias),
        attention_(table, attention_spec(m, seed, prefix)),
        norm2_(table, prefix + ".ln_2", m.norm, m.hidden_size, static_cast<float>(m.norm_epsilon), m.bias),
        feed_forward_(table, feed_forward_spec(m, prefix)),
        residual1_(static_cast<float>(m.dropout), seed, prefix + ".attn"),
        residual2_(static_cast<float>(m.dropout), seed, prefix + ".mlp") {}

  void forward(Context& context, const Tensor& x, std::int64_t batch, const Tensor& out) const {
    run(context, x, batch, out, [&](const Tensor& normed, const Tensor& y) {
      attention_.forward(context, normed, batch, y);
    });
  }

  void forward_cached(Context& context, const Tensor& x, std::int64_t batch, std::int64_t first,
                      const KeyValueCache& cache, const Tensor& out) const {
    run(context, x, batch, out, [&](const Tensor& normed, const Tensor& y) {
      attention_.forward_cached(context, normed, batch, first, cache, y);
    });
  }

  // In: the gradient of the block's output. Out, in place: the gradient of its input.
  void backward(Context& context, std::int64_t batch, const Tensor& gradient) const {
    Tape::Scope scope(context.tape);
    const Tensor d_branch = context.tape.scratch(context.act, gradient.shape);
    const Tensor d_masked = context.tape.scratch(context.act, gradient.shape);
    const auto half = [&](const ResidualDropout& residual, const Norm& norm, const auto& branch) {
      const Tensor dy = residual.backward(context, gradient, branch.output(), batch, d_masked);
      if constexpr (std::is_same_v<std::decay_t<decltype(branch)>, SelfAttention>)
        branch.backward(context, batch, dy, d_branch);
      else
        branch.backward(context, dy, d_branch);
      norm.backward(context, d_branch, /*accumulate=*/true, gradient);
      context.tape.pop();  // the normed input
    };
    half(residual2_, norm2_, feed_forward_);
    context.tape.pop();  // middle
    half(residual1_, norm1_, attention_);
  }

 private:
  template <typename AttentionForward>
  void run(Context& context, const Tensor& x, std::int64_t batch, const Tensor& out, AttentionForward attend) const {
    Tape::Scope scope(context.tape);
    const auto keep = [&] {
      return context.training ? context.tape.push(context.act, x.shape) : context.tape.scratch(context.act, x.shape);
    };
    const Tensor branch = context.tape.scratch(context.act, x.shape);
    const Tensor normed1 = keep();
    norm1_.forward(context, x, normed1);
    attend(normed1, branch);
    const Tensor middle = keep();
    residual1_.forward(context, branch, attention_.output(), x, batch, middle);
    const Tensor normed2 = keep();
    norm2_.forward(context, middle, normed2);
    feed_forward_.forward(context, normed2, branch);
    residual2_.forward(context, branch, feed_forward_.output(), middle, batch, out);
  }

  Norm norm1_;
  SelfAttention attention_;
  Norm norm2_;
  FeedForward feed_forward_;
  ResidualDropout residual1_, residual2_;
};

struct GptDecodingState final : DecodingState {
  Memory memory;
  std::vector<KeyValueCache> layers;
};

class Gpt final : public Model {
 public:
  Gpt(const ModelOptions& m, std::uint64_t seed, ParameterTable& table)
      : options_(m),
        tokens_(table, "wte", m.vocabulary_size, m.hidden_size, Initializer::normal(kInitialDeviation)),
        positions_(table.add({"wpe.weight",
                              {m.context_length, m.hidden_size},
                              {},
                              Initializer::normal(kInitialDeviation),
                              /*decay=*/true})),
        embedding_dropout_key_(philox_key(seed, "dropout/embedding")) {
    for (std::int64_t i = 0; i < m.num_layers; ++i)
      blocks_.emplace_back(m, seed, fmt::format("h.{}", i), table);
    final_norm_.emplace(table, "ln_f", m.norm, m.hidden_size, static_cast<float>(m.norm_epsilon), m.bias);
    if (!m.tie_embeddings)
      output_table_.emplace(table, "lm_head", m.vocabulary_size, m.hidden_size,
                            Initializer::normal(kInitialDeviation));
    head_.emplace(output_table_ ? *output_table_ : tokens_);
    stream_.resize(blocks_.size() + 1);
  }

  void train(Context& context, const Batch& batch, const float* scale, const Tensor& loss) override {
    Tape& tape = context.tape;
    const Shape shape{batch.samples * batch.length, options_.hidden_size};
    const Tensor gradient = tape.push(context.act, shape);

    stream_[0] = tape.push(context.act, shape);
    embed(context, batch, stream_[0]);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      stream_[i + 1] = tape.push(context.act, shape);
      const std::size_t mark = tape.mark();
      const ProfilerRange range("block forward");
      blocks_[i].forward(context, stream_[i], batch.samples, stream_[i + 1]);
      if (context.recompute_blocks) tape.rewind(mark);
    }
    const Tensor normed = tape.push(context.act, shape);
    final_norm_->forward(context, stream_.back(), normed);
    {
      const ProfilerRange range("head");
      Tape::Scope scope(tape);
      const Tensor d_normed = tape.scratch(context.act, shape);
      head_->forward_backward(context, normed, batch.targets, 0.0f, scale, loss, d_normed);
      if (output_table_) context.gradient_ready(output_table_->weight());
      final_norm_->backward(context, d_normed, /*accumulate=*/false, gradient);
      tape.pop();  // normed
    }
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      const ProfilerRange range("block backward");
      if (context.recompute_blocks) blocks_[i].forward(context, stream_[i], batch.samples, stream_[i + 1]);
      blocks_[i].backward(context, batch.samples, gradient);
      tape.pop();  // stream_[i + 1]
    }
    embed_backward(context, batch, gradient);
    tape.pop();  // stream_[0]
    tape.pop();  // gradient
  }

  void evaluate(Context& context, const Batch& batch, const Tensor& loss) override {
    Tape::Scope scope(context.tape);
    const Tensor x = run_blocks(context, batch, [&](std::size_t i, const Tensor& in, const Tensor& out) {
      blocks_[i].forward(context, in, batch.samples, out);
    });
    const Tensor normed = context.tape.scratch(context.act, x.shape);
    final_norm_->forward(context, x, normed);
    head_->forward(context, normed, batch.targets, loss);
  }

  FlopsPerToken flops_per_token(std::int64_t length) const override {
    const double d = static_cast<double>(options_.hidden_size), width = static_cast<double>(options_.num_heads * options_.head_size_in_use()),
                 f = static_cast<double>(options_.ffn_size_in_use()), layers = static_cast<double>(options_.num_layers);
    const double per_layer = 4 * d * width + (options_.activation == FeedForwardKind::swiglu ? 3 : 2) * d * f;
    FlopsPerToken flops;
    flops.matmul = 6 * (layers * per_layer + d * static_cast<double>(options_.vocabulary_size));
    flops.attention_full = 12 * layers * width * static_cast<double>(length);
    flops.attention_causal = flops.attention_full / 2;
    return flops;
  }
  std::int64_t context_length() const override { return options_.context_length; }
  std::int64_t vocabulary_size() const override { return options_.vocabulary_size; }
  std::int64_t local_vocabulary_rows() const override { return head_->local_rows(); }

  std::unique_ptr<DecodingState> make_decoding_state(Context& context, std::int64_t samples) override {
    const std::int64_t heads = options_.num_heads / context.tensor_ranks();
    const Shape shape{samples, options_.context_length, heads, options_.head_size_in_use()};
    const std::size_t bytes = static_cast<std::size_t>(shape.count()) * size_of(context.act);
    auto state = std::make_unique<GptDecodingState>();
    state->memory = context.device.allocate(2 * blocks_.size() * bytes);
    const Tensor all(state->memory.data(), context.act,
                     {2 * static_cast<std::int64_t>(blocks_.size()), samples, options_.context_length, heads,
                      options_.head_size_in_use()});
    for (std::int64_t i = 0; i < options_.num_layers; ++i) state->layers.push_back({all[2 * i], all[2 * i + 1]});
    return state;
  }

  void decode(Context& context, DecodingState& state, const Batch& batch, std::int64_t first,
              const Tensor& logits) override {
    auto& layers = static_cast<GptDecodingState&>(state).layers;
    Tape::Scope scope(context.tape);
    const Tensor x = run_blocks(context, batch, [&](std::size_t i, const Tensor& in, const Tensor& out) {
      blocks_[i].forward_cached(context, in, batch.samples, first, layers[i], out);
    });
    const Tensor last = context.tape.scratch(context.act, {batch.samples, options_.hidden_size});
    context.ops.copy(x.view({batch.samples, batch.length, options_.hidden_size}).slice(1, batch.length - 1, batch.length),
                     last.view({batch.samples, 1, options_.hidden_size}));
    const Tensor normed = context.tape.scratch(context.act, last.shape);
    final_norm_->forward(context, last, normed);
    head_->logits(context, normed, logits);
  }

 private:
  void embed(Context& context, const Batch& batch, const Tensor& x) const {
    tokens_.forward(context, batch.ids, x);
    context.ops.embedding_forward(batch.positions, positions_.value, 0, /*accumulate=*/true, x);
    const Dropout dropout = context.dropout(static_cast<float>(options_.dropout), embedding_dropout_key_);
    const Tensor by_sample = x.view({batch.samples, batch.length, options_.hidden_size});
    if (dropout.probability > 0) context.ops.dropout(by_sample, dropout, by_sample);
  }

  void embed_backward(Context& context, const Batch& batch, const Tensor& gradient) const {
    const Dropout dropout = context.dropout(static_cast<float>(options_.dropout), embedding_dropout_key_);
    const Tensor by_sample = gradient.view({batch.samples, batch.length, options_.hidden_size});
    if (dropout.probability > 0) context.ops.dropout(by_sample, dropout, by_sample);
    context.ops.embedding_backward(batch.positions, gradient, 0, positions_.gradient);
    context.gradient_ready(positions_);
    tokens_.backward(context, batch.ids, gradient);
    context.gradient_ready(tokens_.weight());
  }

  // Forward without keeping anything: two buffers take turns. Returns the last block's output.
  template <typename RunBlock>
  Tensor run_blocks(Context& context, const Batch& batch, RunBlock run_block) const {
    const Shape shape{batch.samples * batch.length, options_.hidden_size};
    Tensor x = context.tape.scratch(context.act, shape), out = context.tape.scratch(context.act, shape);
    embed(context, batch, x);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      run_block(i, x, out);
      std::swap(x, out);
    }
    return x;
  }

  ModelOptions options_;
  VocabularyParallelEmbedding tokens_;
  Parameter& positions_;
  std::uint64_t embedding_dropout_key_;
  std::deque<GptBlock> blocks_;
  std::vector<Tensor> stream_;  // the residual stream before block 0, 1, ... and after the last
  std::optional<Norm> final_norm_;
  std::optional<VocabularyParallelEmbedding> output_table_;
  std::optional<VocabularyParallelHead> head_;
};

const ModelFamily kFamily("gpt", [](const ModelOptions& options, std::uint64_t seed, ParameterTable& table) {
  return std::make_unique<Gpt>(options, seed, table);
});

}  // namespace
}  // namespace heddle
