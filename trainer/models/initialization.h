// How a model's matrices start.
#pragma once

#include <cmath>

#include "parallel/parameters.h"
#include "trainer/config/options.h"

namespace heddle {

// Of GPT-2 (Radford et al. 2019) and BERT.
constexpr float kInitialDeviation = 0.02f;

// Of a matrix. xavier: uniform with variance 2 / (rows + columns) (Glorot & Bengio 2010).
inline Initializer matrix_initializer(const ModelOptions& options, const Shape& shape) {
  if (options.initialization == Initialization::xavier)
    return Initializer::uniform(std::sqrt(6.0f / static_cast<float>(shape[0] + shape[1])));
  return Initializer::normal(kInitialDeviation);
}

// Of a table of token embeddings. xavier: one that is also the head starts at variance 1 / width, so that scaled
// embeddings are as large as positions and logits as the stream (fairseq, tensor2tensor); Glorot's is far smaller.
inline Initializer embedding_initializer(const ModelOptions& options, const Shape& shape) {
  if (options.initialization == Initialization::xavier && options.tie_embeddings)
    return Initializer::normal(1.0f / std::sqrt(static_cast<float>(shape[1])));
  return matrix_initializer(options, shape);
}

// Of a projection into the residual stream. normal: smaller, by the number of additions to the stream (GPT-2).
inline Initializer residual_initializer(const ModelOptions& options, const Shape& shape, std::int64_t additions) {
  if (options.initialization == Initialization::xavier) return matrix_initializer(options, shape);
  return Initializer::normal(kInitialDeviation / std::sqrt(static_cast<float>(additions)));
}

}  // namespace heddle
