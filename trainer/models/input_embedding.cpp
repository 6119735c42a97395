#include "trainer/models/input_embedding.h"

#include <cmath>

#include "trainer/models/initialization.h"

namespace heddle {

float sinusoidal_position(std::int64_t position, std::int64_t channel, std::int64_t width) {
  const double exponent = static_cast<double>(channel / 2 * 2) / static_cast<double>(width);
  const double angle = static_cast<double>(position) / std::pow(10000.0, exponent);
  return static_cast<float>(channel % 2 == 0 ? std::sin(angle) : std::cos(angle));
}

InputEmbedding::InputEmbedding(ParameterTable& table, const ModelOptions& options, std::uint64_t seed,
                               const VocabularyParallelEmbedding& tokens, const std::string& positions,
                               const std::string& purpose)
    : tokens_(tokens),
      scale_(options.embedding_scale ? std::sqrt(static_cast<float>(options.hidden_size)) : 1.0f),
      dropout_(static_cast<float>(options.dropout)),
      dropout_key_(philox_key(seed, "dropout/" + purpose)) {
  const std::int64_t width = options.hidden_size;
  const Shape shape{options.context_length, width};
  if (options.positions == PositionKind::learned)
    learned_ = &table.add({positions + ".weight", shape, {}, matrix_initializer(options, shape), /*decay=*/true});
  if (options.positions == PositionKind::sinusoidal)
    sinusoidal_ = &table.add_constant(positions + ".weight", shape, [width](std::int64_t i) {
      return sinusoidal_position(i / width, i % width, width);
    });
}

void InputEmbedding::drop(Context& context, std::int64_t samples, const Tensor& x) const {
  const Dropout dropout = context.dropout(dropout_, dropout_key_);
  const Tensor by_sample = x.view({samples, x.size(0) / samples, x.size(1)});
  if (dropout.probability > 0) context.ops.dropout(by_sample, dropout, by_sample);
}

void InputEmbedding::forward(Context& context, const Tensor& ids, const Tensor& positions, std::int64_t samples,
                             const Tensor& x) const {
  tokens_.forward(context, ids, x);
  if (scale_ != 1.0f) context.ops.scale(x, scale_, x);
  if (learned_ || sinusoidal_)
    context.ops.embedding_forward(positions, learned_ ? learned_->value : sinusoidal_->value, 0, /*accumulate=*/true,
                                  x);
  drop(context, samples, x);
}

void InputEmbedding::backward(Context& context, const Tensor& ids, const Tensor& positions, std::int64_t samples,
                              const Tensor& gradient) const {
  drop(context, samples, gradient);
  if (learned_) {
    context.ops.embedding_backward(positions, gradient, 0, learned_->gradient);
    context.gradient_ready(*learned_);
  }
  if (scale_ != 1.0f) context.ops.scale(gradient, scale_, gradient);
  tokens_.backward(context, ids, gradient);
}

}  // namespace heddle
