// GPT: a stack of pre-norm decoder blocks over token and learned position embeddings (Radford et al. 2018, 2019;
// Brown et al. 2020). Parameter names, shapes and storage are those of Hugging Face's GPT2LMHeadModel: wte, wpe,
// h.N.{ln_1, attn.c_attn, attn.c_proj, ln_2, mlp.c_fc, mlp.c_proj}, ln_f; matrices are [in, out].
// The options of the blocks vary it: nanoGPT's bias-free models, RMSNorm, SwiGLU, post-norm, other positions.

#include <fmt/format.h>

#include <optional>

#include "kernels/error.h"
#include "kernels/profiler.h"
#include "parallel/vocabulary.h"
#include "trainer/models/block.h"
#include "trainer/models/decoding_cache.h"
#include "trainer/models/initialization.h"
#include "trainer/models/input_embedding.h"
#include "trainer/models/model.h"

namespace heddle {

namespace {

BlockSpec block_spec(const ModelOptions& m, std::uint64_t seed, const std::string& prefix) {
  const std::int64_t width = m.num_heads * m.head_size_in_use(), additions = 2 * m.num_layers;
  BlockSpec spec;
  spec.self_attention = attention_spec(m, seed);
  spec.self_attention.projections = {prefix + ".attn.c_attn"};
  spec.self_attention.output = prefix + ".attn.c_proj";
  spec.self_attention.projection_initializer = matrix_initializer(m, {m.hidden_size, width});
  spec.self_attention.output_initializer = residual_initializer(m, {width, m.hidden_size}, additions);
  spec.feed_forward = feed_forward_spec(m, seed);
  spec.feed_forward.up = prefix + ".mlp.c_fc";
  spec.feed_forward.down = prefix + ".mlp.c_proj";
  spec.feed_forward.up_initializer = matrix_initializer(m, {m.hidden_size, m.ffn_size_in_use()});
  spec.feed_forward.down_initializer = residual_initializer(m, {m.ffn_size_in_use(), m.hidden_size}, additions);
  spec.self_part = {prefix + ".ln_1", prefix + ".attn"};
  spec.feed_forward_part = {prefix + ".ln_2", prefix + ".mlp"};
  return spec;
}

struct GptDecodingState final : DecodingState {
  GptDecodingState(Context& context, const DecodingSize& size, std::int64_t layers, std::int64_t heads,
                   std::int64_t head_size)
      : cache(context, size, layers, heads, head_size) {}
  void reorder(Context& context, const std::vector<std::int32_t>& parents, std::int64_t used) override {
    cache.reorder(context, parents, used);
  }
  DecodingCache cache;
};

class Gpt final : public Model {
 public:
  Gpt(const ModelOptions& m, std::uint64_t seed, ParameterTable& table)
      : options_(m),
        tokens_(table, "wte", m.vocabulary_size, m.hidden_size,
                embedding_initializer(m, {m.vocabulary_size, m.hidden_size})),
        embedding_(table, m, seed, tokens_, "wpe", "embedding"),
        stack_(
            table, m, seed, m.num_layers, [&](std::int64_t i) { return block_spec(m, seed, fmt::format("h.{}", i)); },
            "ln_f") {
    if (!m.tie_embeddings)
      output_table_.emplace(table, "lm_head", m.vocabulary_size, m.hidden_size,
                            matrix_initializer(m, {m.vocabulary_size, m.hidden_size}));
    Parameter* const bias = m.head_bias ? &head_bias(table, "final_logits_bias", m.vocabulary_size) : nullptr;
    head_.emplace(output_table_ ? *output_table_ : tokens_, bias);
  }

  void train(Context& context, const Batch& batch, const float* scale, const Tensor& loss) override {
    Tape& tape = context.tape;
    const Shape shape{batch.samples * batch.length, options_.hidden_size};
    const Flow flow{.samples = batch.samples};
    const Tensor gradient = tape.push(context.act, shape), x = tape.push(context.act, shape);
    embedding_.forward(context, batch.ids, batch.positions, batch.samples, x);
    const Tensor y = stack_.forward(context, flow, x);
    {
      const ProfilerRange range("head");
      head_->forward_backward(context, y, batch.targets, context.label_smoothing, scale, loss, gradient);
      if (output_table_) context.gradient_ready(output_table_->weight());
    }
    stack_.backward(context, flow, gradient);
    embedding_.backward(context, batch.ids, batch.positions, batch.samples, gradient);
    context.gradient_ready(tokens_.weight());
    tape.pop();  // x
    tape.pop();  // gradient
  }

  void evaluate(Context& context, const Batch& batch, const Tensor& loss) override {
    Tape::Scope scope(context.tape);
    const Tensor y = stack_.infer(context, {.samples = batch.samples}, embedded(context, batch));
    head_->forward(context, y, batch.targets, loss);
  }

  FlopsPerToken flops_per_token(double length, double /*source_length*/) const override {
    const double d = static_cast<double>(options_.hidden_size),
                 width = static_cast<double>(options_.num_heads * options_.head_size_in_use()),
                 f = static_cast<double>(options_.ffn_size_in_use()), layers = static_cast<double>(options_.num_layers);
    const double per_layer = 4 * d * width + (options_.activation == FeedForwardKind::swiglu ? 3 : 2) * d * f;
    FlopsPerToken flops;
    flops.matmul = 6 * (layers * per_layer + d * static_cast<double>(options_.vocabulary_size));
    flops.attention_full = 12 * layers * width * length;
    flops.attention_causal = flops.attention_full / 2;
    return flops;
  }
  std::int64_t context_length() const override { return options_.context_length; }
  std::int64_t vocabulary_size() const override { return options_.vocabulary_size; }
  std::int64_t local_vocabulary_rows() const override { return head_->local_rows(); }

  std::unique_ptr<DecodingState> make_decoding_state(Context& context, const DecodingSize& size) override {
    return std::make_unique<GptDecodingState>(context, size, options_.num_layers,
                                              options_.num_heads / context.tensor_ranks(), options_.head_size_in_use());
  }

  void decode(Context& context, DecodingState& state, const Batch& batch, std::int64_t first,
              const Tensor& logits) override {
    Tape::Scope scope(context.tape);
    const Flow flow{.samples = batch.samples, .first = first};
    const Tensor last = stack_.infer_last(context, flow, embedded(context, batch),
                                          &static_cast<GptDecodingState&>(state).cache.blocks());
    head_->logits(context, last, logits);
  }

 private:
  Tensor embedded(Context& context, const Batch& batch) const {
    const Tensor x = context.tape.scratch(context.act, {batch.samples * batch.length, options_.hidden_size});
    embedding_.forward(context, batch.ids, batch.positions, batch.samples, x);
    return x;
  }

  ModelOptions options_;
  VocabularyParallelEmbedding tokens_;
  InputEmbedding embedding_;
  Stack stack_;
  std::optional<VocabularyParallelEmbedding> output_table_;
  std::optional<VocabularyParallelHead> head_;
};

const ModelFamily kFamily("gpt", ModelInput::text,
                          [](const ModelOptions& options, std::uint64_t seed, ParameterTable& table) {
                            if (options.num_decoder_layers > 0 || options.source_vocabulary_size > 0)
                              throw usage_error(
                                  "num_decoder_layers and source_vocabulary_size are of an encoder-decoder; remove "
                                  "them or set family = transformer");
                            return std::make_unique<Gpt>(options, seed, table);
                          });

}  // namespace
}  // namespace heddle
