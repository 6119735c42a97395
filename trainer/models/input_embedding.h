// The bottom of a stack: token embedding, position, dropout.
//   x = dropout(scale E[token] + P[position])        Vaswani et al. 2017, sections 3.4 and 3.5
#pragma once

#include <cstdint>
#include <string>

#include "parallel/vocabulary.h"
#include "trainer/config/options.h"

namespace heddle {

// PE(pos, 2i) = sin(pos / 10000^(2i / width)), PE(pos, 2i + 1) = cos of the same (Vaswani et al. 2017, section 3.5).
float sinusoidal_position(std::int64_t position, std::int64_t channel, std::int64_t width);

class InputEmbedding {
 public:
  // `positions`: the parameter's (or constant's) name without ".weight"; `purpose` names the dropout. `tokens` must
  // outlive this.
  InputEmbedding(ParameterTable& table, const ModelOptions& options, std::uint64_t seed,
                 const VocabularyParallelEmbedding& tokens, const std::string& positions, const std::string& purpose);

  // ids, positions i32 [samples * length] -> x [samples * length, C].
  void forward(Context& context, const Tensor& ids, const Tensor& positions, std::int64_t samples,
               const Tensor& x) const;
  // `gradient` of x is overwritten. The table's gradient_ready is the caller's to report: others may use it too.
  void backward(Context& context, const Tensor& ids, const Tensor& positions, std::int64_t samples,
                const Tensor& gradient) const;

 private:
  void drop(Context& context, std::int64_t samples, const Tensor& x) const;

  const VocabularyParallelEmbedding& tokens_;
  Parameter* learned_ = nullptr;
  const Constant* sinusoidal_ = nullptr;
  float scale_, dropout_;
  std::uint64_t dropout_key_;
};

}  // namespace heddle
