// Evaluation of a language model on a token stream: every window of the context length once, in order.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "parallel/mesh.h"
#include "parallel/tape.h"
#include "trainer/data/token_dataset.h"
#include "trainer/models/model.h"

namespace heddle {

struct EvaluationResult {
  double loss_sum = 0;      // nats
  std::int64_t tokens = 0;  // predicted
  std::int64_t bytes = 0;   // of text in these tokens; 0 if the tokenizer is unknown

  double loss() const { return loss_sum / static_cast<double>(tokens); }
  double bits_per_byte() const { return loss_sum / std::log(2.0) / static_cast<double>(bytes); }
};

class Evaluator {
 public:
  Evaluator(Model& model, Device& device, Mesh& mesh, DType act);

  // byte_lengths: text bytes per token id, or empty. Collective; the windows are dealt to the data ranks. Throws
  // Error if the text is shorter than one window.
  EvaluationResult evaluate(const TokenDataset& dataset, const std::vector<std::int32_t>& byte_lengths);

 private:
  Model& model_;
  Device& device_;
  Mesh& mesh_;
  DType act_;
  std::int64_t samples_;  // per pass
  Tape tape_;
  Memory ids_, positions_, targets_, losses_, sum_;
};

}  // namespace heddle
