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
};

// FLOPs of one token of a sequence of `length` tokens. One multiply-add is two FLOPs.
struct FlopsPerToken {
  double matmul = 0;            // forward and backward, 6 x the parameters in matrix products (head included)
  double attention_causal = 0;  // scores and weighted sum, only the visible half
  double attention_full = 0;    // the same as if nothing were masked (PaLM's convention)
  double causal() const { return matmul + attention_causal; }
  double full() const { return matmul + attention_full; }
};

// What a decoder remembers of the tokens it has seen.
class DecodingState {
 public:
  virtual ~DecodingState() = default;
};

class Model {
 public:
  virtual ~Model() = default;

  // Forward and backward: loss f32 [samples * length] per token; gradients of *scale * loss are added to the
  // parameters' gradients. scale: device f32.
  virtual void train(Context& context, const Batch& batch, const float* scale, const Tensor& loss) = 0;
  // Forward only.
  virtual void evaluate(Context& context, const Batch& batch, const Tensor& loss) = 0;

  virtual FlopsPerToken flops_per_token(std::int64_t length) const = 0;
  virtual std::int64_t context_length() const = 0;
  virtual std::int64_t vocabulary_size() const = 0;

  // Decoding. The state holds up to context_length() tokens of `samples` sequences.
  virtual std::unique_ptr<DecodingState> make_decoding_state(Context& context, std::int64_t samples) = 0;
  // Feeds tokens at positions [first, first + length) of each sequence; logits f32
  // [tensor ranks, samples, local vocabulary rows] of the last one. Every row's bits are independent of `length`.
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
  ModelFamily(std::string name, ModelFactory factory);
};

// Throws UsageError naming the known families, or the size that cannot be split over table.ranks().
std::unique_ptr<Model> make_model(const ModelOptions& options, std::uint64_t seed, ParameterTable& table);

}  // namespace heddle
