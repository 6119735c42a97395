// The Transformer: an encoder that reads a source and a decoder that writes a target (Vaswani et al. 2017). Parameter
// names and shapes are those of Hugging Face's MarianMTModel, which is this model: model.shared (or
// model.encoder.embed_tokens and model.decoder.embed_tokens), model.{encoder, decoder}.embed_positions,
// layers.N.{self_attn, encoder_attn}.{q_proj, k_proj, v_proj, out_proj}, layers.N.{fc1, fc2} and the norms behind (or,
// pre-norm, before) each; pre-norm stacks end in a layer_norm, as mBART's do. Matrices are [out, in].

#include <fmt/format.h>

#include <algorithm>
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

enum class Side { encoder, decoder };

const char* name_of(Side side) {
  return side == Side::encoder ? "encoder" : "decoder";
}

AttentionSpec named_attention(const ModelOptions& m, std::uint64_t seed, const std::string& name, bool causal,
                              std::int64_t additions) {
  const std::int64_t width = m.num_heads * m.head_size_in_use();
  AttentionSpec spec = attention_spec(m, seed);
  spec.projections = {name + ".q_proj", name + ".k_proj", name + ".v_proj"};
  spec.output = name + ".out_proj";
  spec.causal = causal;
  spec.layout = WeightLayout::out_in;
  spec.projection_initializer = matrix_initializer(m, {width, m.hidden_size});
  spec.output_initializer = residual_initializer(m, {m.hidden_size, width}, additions);
  return spec;
}

BlockSpec block_spec(const ModelOptions& m, std::uint64_t seed, Side side, std::int64_t layer) {
  const bool decodes = side == Side::decoder;
  const std::string prefix = fmt::format("model.{}.layers.{}", name_of(side), layer);
  const std::int64_t additions = decodes ? 3 * m.decoder_layers_in_use() : 2 * m.num_layers;
  BlockSpec spec;
  spec.self_attention = named_attention(m, seed, prefix + ".self_attn", /*causal=*/decodes, additions);
  spec.self_part = {prefix + ".self_attn_layer_norm", prefix + ".self_attn"};
  if (decodes) {
    spec.cross_attention = named_attention(m, seed, prefix + ".encoder_attn", /*causal=*/false, additions);
    spec.cross_part = {prefix + ".encoder_attn_layer_norm", prefix + ".encoder_attn"};
  }
  spec.feed_forward = feed_forward_spec(m, seed);
  spec.feed_forward.up = prefix + ".fc1";
  spec.feed_forward.down = prefix + ".fc2";
  spec.feed_forward.layout = WeightLayout::out_in;
  spec.feed_forward.up_initializer = matrix_initializer(m, {m.ffn_size_in_use(), m.hidden_size});
  spec.feed_forward.down_initializer = residual_initializer(m, {m.hidden_size, m.ffn_size_in_use()}, additions);
  spec.feed_forward_part = {prefix + ".final_layer_norm", prefix + ".fc2"};
  return spec;
}

// The embedding tables that a model has: one, two, or three with a head of its own.
class Tables {
 public:
  Tables(ParameterTable& table, const ModelOptions& m) {
    const auto make = [&](std::optional<VocabularyParallelEmbedding>& one, const std::string& name,
                          std::int64_t vocabulary) {
      one.emplace(table, name, vocabulary, m.hidden_size, embedding_initializer(m, {vocabulary, m.hidden_size}));
    };
    if (m.share_embeddings) {
      make(target_, "model.shared", m.vocabulary_size);
    } else {
      make(source_, "model.encoder.embed_tokens", m.source_vocabulary_size);
      make(target_, "model.decoder.embed_tokens", m.vocabulary_size);
    }
    if (!m.tie_embeddings) make(head_, "lm_head", m.vocabulary_size);
  }

  const VocabularyParallelEmbedding& source() const { return source_ ? *source_ : *target_; }
  const VocabularyParallelEmbedding& target() const { return *target_; }
  const VocabularyParallelEmbedding& head() const { return head_ ? *head_ : *target_; }

  // Report the gradients of tables that have no other use left: after the head, the decoder's embedding, the
  // encoder's.
  void head_done(Context& context) const {
    if (head_) context.gradient_ready(head_->weight());
  }
  void target_done(Context& context) const {
    if (source_) context.gradient_ready(target_->weight());
  }
  void source_done(Context& context) const { context.gradient_ready(source().weight()); }

 private:
  std::optional<VocabularyParallelEmbedding> source_, target_, head_;
};

struct TransformerDecodingState final : DecodingState {
  TransformerDecodingState(Context& context, const DecodingSize& size, std::int64_t layers, std::int64_t heads,
                           std::int64_t head_size)
      : sources(size.sources), cache(context, size, layers, heads, head_size) {}
  void reorder(Context& context, const std::vector<std::int32_t>& parents, std::int64_t used) override {
    cache.reorder(context, parents, used);
  }
  std::int64_t sources;
  EncoderMemory memory;  // its keys and values are in the cache
  DecodingCache cache;
};

class Transformer final : public Model {
 public:
  Transformer(const ModelOptions& m, std::uint64_t seed, ParameterTable& table)
      : options_(m),
        tables_(table, m),
        source_embedding_(table, m, seed, tables_.source(), "model.encoder.embed_positions", "encoder embedding"),
        encoder_(
            table, m, seed, m.num_layers, [&](std::int64_t i) { return block_spec(m, seed, Side::encoder, i); },
            "model.encoder.layer_norm"),
        target_embedding_(table, m, seed, tables_.target(), "model.decoder.embed_positions", "decoder embedding"),
        decoder_(
            table, m, seed, m.decoder_layers_in_use(),
            [&](std::int64_t i) { return block_spec(m, seed, Side::decoder, i); }, "model.decoder.layer_norm"),
        head_(tables_.head(), m.head_bias ? &head_bias(table, "final_logits_bias", m.vocabulary_size) : nullptr) {}

  void train(Context& context, const Batch& batch, const float* scale, const Tensor& loss) override {
    Tape& tape = context.tape;
    const Shape source_shape{batch.samples * batch.source_length, options_.hidden_size},
        shape{batch.samples * batch.length, options_.hidden_size};
    const Flow source_flow = reading(batch);
    EncoderMemory memory = memory_of(batch);
    memory.gradient = tape.push(context.act, source_shape);
    const Tensor gradient = tape.push(context.act, shape);
    const Tensor source = tape.push(context.act, source_shape);
    source_embedding_.forward(context, batch.source_ids, batch.source_positions, batch.samples, source);
    memory.value = encoder_.forward(context, source_flow, source);
    context.ops.fill(memory.gradient, 0.0f);

    const Flow flow{.samples = batch.samples, .memory = &memory};
    const Tensor target = tape.push(context.act, shape);
    target_embedding_.forward(context, batch.ids, batch.positions, batch.samples, target);
    const Tensor y = decoder_.forward(context, flow, target);
    {
      const ProfilerRange range("head");
      head_.forward_backward(context, y, batch.targets, context.label_smoothing, scale, loss, gradient);
      tables_.head_done(context);
    }
    decoder_.backward(context, flow, gradient);
    target_embedding_.backward(context, batch.ids, batch.positions, batch.samples, gradient);
    tables_.target_done(context);
    tape.pop();  // target

    context.sum_over_tensor_group(memory.gradient, "encoder output backward");
    encoder_.backward(context, source_flow, memory.gradient);
    source_embedding_.backward(context, batch.source_ids, batch.source_positions, batch.samples, memory.gradient);
    tables_.source_done(context);
    tape.pop();  // source
    tape.pop();  // gradient
    tape.pop();  // memory.gradient
  }

  void evaluate(Context& context, const Batch& batch, const Tensor& loss) override {
    Tape::Scope scope(context.tape);
    EncoderMemory memory = memory_of(batch);
    memory.value = read(context, batch);
    const Tensor y =
        decoder_.infer(context, {.samples = batch.samples, .memory = &memory}, embedded_target(context, batch));
    head_.forward(context, y, batch.targets, loss);
  }

  FlopsPerToken flops_per_token(double length, double source_length) const override {
    const double d = static_cast<double>(options_.hidden_size),
                 width = static_cast<double>(options_.num_heads * options_.head_size_in_use()),
                 f = static_cast<double>(options_.ffn_size_in_use()),
                 encoders = static_cast<double>(options_.num_layers),
                 decoders = static_cast<double>(options_.decoder_layers_in_use()),
                 sources = source_length / std::max(length, 1.0);  // source tokens to a token of target
    const double ffn = (options_.activation == FeedForwardKind::swiglu ? 3 : 2) * d * f, projection = d * width;
    FlopsPerToken flops;
    flops.matmul = 6 * (decoders * (6 * projection + ffn) + d * static_cast<double>(options_.vocabulary_size) +
                        sources * (encoders * (4 * projection + ffn) + decoders * 2 * projection));
    const double seen_by_all = 12 * width * (sources * encoders * source_length + decoders * source_length);
    flops.attention_full = seen_by_all + 12 * width * decoders * length;
    flops.attention_causal = seen_by_all + 6 * width * decoders * length;
    return flops;
  }
  std::int64_t context_length() const override { return options_.context_length; }
  std::int64_t vocabulary_size() const override { return options_.vocabulary_size; }
  std::int64_t local_vocabulary_rows() const override { return head_.local_rows(); }

  std::unique_ptr<DecodingState> make_decoding_state(Context& context, const DecodingSize& size) override {
    return std::make_unique<TransformerDecodingState>(context, size, options_.decoder_layers_in_use(),
                                                      options_.num_heads / context.tensor_ranks(),
                                                      options_.head_size_in_use());
  }

  void encode(Context& context, DecodingState& state, const Batch& batch) override {
    Tape::Scope scope(context.tape);
    auto& mine = static_cast<TransformerDecodingState&>(state);
    mine.memory = memory_of(batch);
    EncoderMemory memory = mine.memory;
    memory.value = read(context, batch);
    for (std::size_t i = 0; i < decoder_.blocks().size(); ++i)
      decoder_.blocks()[i].cross_attention()->fill_cache(context, memory, batch.samples, mine.cache.blocks()[i].memory);
  }

  void decode(Context& context, DecodingState& state, const Batch& batch, std::int64_t first,
              const Tensor& logits) override {
    Tape::Scope scope(context.tape);
    const auto& mine = static_cast<const TransformerDecodingState&>(state);
    const Flow flow{.samples = batch.samples, .memory = &mine.memory, .first = first, .sources = mine.sources};
    const Tensor last = decoder_.infer_last(context, flow, embedded_target(context, batch), &mine.cache.blocks());
    head_.logits(context, last, logits);
  }

 private:
  static Flow reading(const Batch& batch) {
    return {.samples = batch.samples, .lengths = batch.source_lengths.as<std::int32_t>()};
  }
  static EncoderMemory memory_of(const Batch& batch) {
    EncoderMemory memory;
    memory.length = batch.source_length;
    memory.lengths = batch.source_lengths.as<std::int32_t>();
    return memory;
  }
  // The encoder's output, scratch.
  Tensor read(Context& context, const Batch& batch) const {
    const Tensor x = context.tape.scratch(context.act, {batch.samples * batch.source_length, options_.hidden_size});
    source_embedding_.forward(context, batch.source_ids, batch.source_positions, batch.samples, x);
    return encoder_.infer(context, reading(batch), x);
  }
  Tensor embedded_target(Context& context, const Batch& batch) const {
    const Tensor x = context.tape.scratch(context.act, {batch.samples * batch.length, options_.hidden_size});
    target_embedding_.forward(context, batch.ids, batch.positions, batch.samples, x);
    return x;
  }

  ModelOptions options_;
  Tables tables_;
  InputEmbedding source_embedding_;
  Stack encoder_;
  InputEmbedding target_embedding_;
  Stack decoder_;
  VocabularyParallelHead head_;
};

const ModelFamily kFamily(
    "transformer", ModelInput::pairs, [](const ModelOptions& options, std::uint64_t seed, ParameterTable& table) {
      ModelOptions m = options;
      if (m.source_vocabulary_size == 0) m.source_vocabulary_size = m.vocabulary_size;
      if (m.share_embeddings && m.source_vocabulary_size != m.vocabulary_size)
        throw usage_error(
            "share_embeddings needs one vocabulary, but source_vocabulary_size = {} and vocabulary_size = {}; set "
            "share_embeddings = false or joint_vocabulary = true",
            m.source_vocabulary_size, m.vocabulary_size);
      return std::make_unique<Transformer>(m, seed, table);
    });

}  // namespace
}  // namespace heddle
