// Model: what the trainer, the evaluation and the generator need of a model family.
//
// A family is one file in trainer/models: its class, built from the shared layers, and a ModelFamily object that
// makes it known by name ("model.family" in a config).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/context.h"
#include "parallel/parameters.h"
#include "trainer/config/options.h"

namespace heddle {

// A micro-batch in device memory; i32 [samples * length] each.
struct Batch {
  std::int64_t samples = 0, length = 0;
  Tensor ids, positions;
  Tensor targets;  // negative: not counted in the loss

  // What an encoder reads; i32 [samples * source_length] each. Tokens from source_lengths[sample] on are padding.
  std::int64_t source_length = 0;
  Tensor source_ids, source_positions;
  Tensor source_lengths;  // i32 [samples]
};

// What a family's models are trained on.
enum class ModelInput : std::uint8_t {
  text,   // one stream of tokens, the next one to be told
  pairs,  // a source that is read as a whole, and a target to be told from it
};

// FLOPs of one token (of a target) of a sequence of `length` tokens. One multiply-add is two FLOPs.
struct FlopsPerToken {
  double matmul = 0;            // forward and backward, 6 x the parameters in matrix products (head included)
  double attention_causal = 0;  // scores and weighted sum, only the visible half where attention is causal
  double attention_full = 0;    // the same as if nothing were masked (PaLM's convention)
  double causal() const { return matmul + attention_causal; }
  double full() const { return matmul + attention_full; }
};

// What decoding needs room for.
struct DecodingSize {
  std::int64_t rows = 1;           // texts that grow side by side
  std::int64_t length = 1;         // tokens of each
  std::int64_t sources = 0;        // texts that the encoder has read; rows / sources rows belong to each
  std::int64_t source_length = 0;  // tokens of each; 0: there is no encoder
  bool reorders = false;           // DecodingState::reorder() will be called
};

// What a decoder remembers of the tokens it has seen.
class DecodingState {
 public:
  virtual ~DecodingState() = default;
  // Row r goes on from what row parents[r] remembers of its first `used` tokens (beam search).
  virtual void reorder(Context& context, const std::vector<std::int32_t>& parents, std::int64_t used) = 0;
};

class Model {
 public:
  virtual ~Model() = default;

  // Forward and backward: loss f32 [samples * length] per token; gradients of *scale * loss are added to the
  // parameters' gradients. scale: device f32.
  virtual void train(Context& context, const Batch& batch, const float* scale, const Tensor& loss) = 0;
  // Forward only.
  virtual void evaluate(Context& context, const Batch& batch, const Tensor& loss) = 0;

  // source_length: tokens of the source that belongs to `length` tokens of target; 0 without an encoder.
  virtual FlopsPerToken flops_per_token(double length, double source_length) const = 0;
  virtual std::int64_t context_length() const = 0;
  virtual std::int64_t vocabulary_size() const = 0;

  // Decoding. size.length and size.source_length are at most context_length().
  virtual std::unique_ptr<DecodingState> make_decoding_state(Context& context, const DecodingSize& size) = 0;
  // Models that read a source: reads batch.source_* of all sources. The state then starts from its beginning.
  virtual void encode(Context& context, DecodingState& state, const Batch& batch);
  // Feeds tokens at positions [first, first + length) of each row; logits f32
  // [tensor ranks, rows, local vocabulary rows] of the last one. Every row's bits are independent of `length`.
  virtual void decode(Context& context, DecodingState& state, const Batch& batch, std::int64_t first,
                      const Tensor& logits) = 0;
  virtual std::int64_t local_vocabulary_rows() const = 0;
};

// Adds the model's parameters to `table`; no memory is needed until the table is allocated.
using ModelFactory =
    std::function<std::unique_ptr<Model>(const ModelOptions& options, std::uint64_t seed, ParameterTable& table)>;

// A static object of this type in the family's file makes it known.
class ModelFamily {
 public:
  ModelFamily(std::string name, ModelInput input, ModelFactory factory);
};

// Throws UsageError naming the known families.
ModelInput model_input(const ModelOptions& options);

// Throws UsageError naming the known families, or the size that cannot be split over table.ranks().
std::unique_ptr<Model> make_model(const ModelOptions& options, std::uint64_t seed, ParameterTable& table);

}  // namespace heddle
