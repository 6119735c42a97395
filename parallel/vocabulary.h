// The two ends of a language model, split over the vocabulary: embedding and output head with cross-entropy.
// The rows of the table are dealt to the tensor-parallel ranks in order, rounded up to whole cache lines; rows past
// the vocabulary stay zero, never count in the softmax and never get a gradient.
#pragma once

#include <string>

#include "parallel/context.h"
#include "parallel/parameters.h"

namespace heddle {

// A table [vocabulary, width] split by rows.
class VocabularyParallelEmbedding {
 public:
  VocabularyParallelEmbedding(ParameterTable& table, std::string name, std::int64_t vocabulary, std::int64_t width,
                              Initializer initializer);

  // ids i32 [N] -> out [N, width], whole on every rank.
  void forward(Context& context, const Tensor& ids, const Tensor& out) const;
  // Does not report gradient_ready: a tied table has another use; the caller reports it after the last.
  void backward(Context& context, const Tensor& ids, const Tensor& dout) const;

  Parameter& weight() const { return *weight_; }
  std::int64_t vocabulary() const { return vocabulary_; }
  std::int64_t first_row() const { return first_row_; }   // global id of local row 0
  std::int64_t valid_rows() const { return valid_rows_; }  // local rows that are part of the vocabulary

 private:
  std::int64_t vocabulary_, first_row_, valid_rows_;
  Parameter* weight_;
};

// logits = x table^T and their cross-entropy, over row chunks, so that the logits of a whole batch never exist.
class VocabularyParallelHead {
 public:
  // `table`: the embedding's for tied weights, or one of its own. `bias`: of head_bias(), or null.
  explicit VocabularyParallelHead(const VocabularyParallelEmbedding& table, Parameter* bias = nullptr)
      : table_(table), bias_(bias) {}

  // x [N, C], targets i32 [N] -> loss f32 [N], dx [N, C], and the table's gradient is added. scale: device f32, the
  // factor of every row's loss (1 / valid tokens of the global batch). Reports the bias' gradient, not the table's.
  void forward_backward(Context& context, const Tensor& x, const Tensor& targets, float label_smoothing,
                        const float* scale, const Tensor& loss, const Tensor& dx) const;
  // Loss only.
  void forward(Context& context, const Tensor& x, const Tensor& targets, const Tensor& loss) const;
  // x [N, C] -> logits f32 [ranks, N, local rows], the slices of all ranks in order; padding rows are included.
  void logits(Context& context, const Tensor& x, const Tensor& logits) const;

  std::int64_t local_rows() const { return table_.weight().local[0]; }

 private:
  Tensor bias_value() const;
  std::int64_t chunk_rows(DType act) const;
  void chunk(Context& context, const Tensor& x, const Tensor& targets, float label_smoothing, const float* scale,
             const Tensor& loss, const Tensor& dx) const;

  const VocabularyParallelEmbedding& table_;
  Parameter* bias_;
};

// One number per word, split as the table's rows are. [1, vocabulary], as Hugging Face's Marian has it.
Parameter& head_bias(ParameterTable& table, std::string name, std::int64_t vocabulary);

}  // namespace heddle
