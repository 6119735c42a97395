#include "parallel/vocabulary.h"

#include <algorithm>

namespace heddle {

namespace {

// Rows per rank are a multiple of this: aligned logits rows for vector stores, and a friendly matmul width.
constexpr std::int64_t kRowMultiple = 32;

// Logits of a chunk stay within the last-level cache of one core while two passes go over them, yet a chunk is
// tall enough for the matrix products.
constexpr std::int64_t kChunkBytes = 32 << 20;
constexpr std::int64_t kMinimumChunkRows = 256;

}  // namespace

VocabularyParallelEmbedding::VocabularyParallelEmbedding(ParameterTable& table, std::string name,
                                                         std::int64_t vocabulary, std::int64_t width,
                                                         Initializer initializer)
    : vocabulary_(vocabulary) {
  weight_ = &table.add({name + ".weight", {vocabulary, width}, {0, 1, kRowMultiple}, initializer, /*decay=*/true});
  const std::int64_t rows = weight_->local[0];
  first_row_ = table.rank() * rows;
  valid_rows_ = std::clamp<std::int64_t>(vocabulary - first_row_, 0, rows);
}

void VocabularyParallelEmbedding::forward(Context& context, const Tensor& ids, const Tensor& out) const {
  context.ops.embedding_forward(ids, weight_->value, first_row_, /*accumulate=*/false, out);
  context.sum_over_tensor_group(out, "embedding");
}

void VocabularyParallelEmbedding::backward(Context& context, const Tensor& ids, const Tensor& dout) const {
  context.ops.embedding_backward(ids, dout, first_row_, weight_->gradient);
}

Parameter& head_bias(ParameterTable& table, std::string name, std::int64_t vocabulary) {
  return table.add(
      {std::move(name), {1, vocabulary}, {1, 1, kRowMultiple}, Initializer::zeros(), /*decay=*/false});
}

Tensor VocabularyParallelHead::bias_value() const {
  return bias_ ? bias_->value.view({local_rows()}) : Tensor();
}

std::int64_t VocabularyParallelHead::chunk_rows(DType act) const {
  const std::int64_t row_bytes = local_rows() * static_cast<std::int64_t>(size_of(act));
  return std::max(kMinimumChunkRows, kChunkBytes / std::max<std::int64_t>(row_bytes, 1));
}

void VocabularyParallelHead::forward_backward(Context& context, const Tensor& x, const Tensor& targets,
                                              float label_smoothing, const float* scale, const Tensor& loss,
                                              const Tensor& dx) const {
  const std::int64_t rows = x.size(0), step = chunk_rows(context.act);
  for (std::int64_t row = 0; row < rows; row += step) {
    const std::int64_t end = std::min(rows, row + step);
    chunk(context, x.slice(0, row, end), targets.slice(0, row, end), label_smoothing, scale, loss.slice(0, row, end),
          dx.slice(0, row, end));
  }
  context.sum_over_tensor_group(dx, "head backward");
  if (bias_) context.gradient_ready(*bias_);
}

void VocabularyParallelHead::forward(Context& context, const Tensor& x, const Tensor& targets,
                                     const Tensor& loss) const {
  const std::int64_t rows = x.size(0), step = chunk_rows(context.act);
  for (std::int64_t row = 0; row < rows; row += step) {
    const std::int64_t end = std::min(rows, row + step);
    chunk(context, x.slice(0, row, end), targets.slice(0, row, end), 0.0f, nullptr, loss.slice(0, row, end), {});
  }
}

void VocabularyParallelHead::chunk(Context& context, const Tensor& x, const Tensor& targets, float label_smoothing,
                                   const float* scale, const Tensor& loss, const Tensor& dx) const {
  Tape::Scope scope(context.tape);
  const Parameter& weight = table_.weight();
  const std::int64_t rows = x.size(0), ranks = context.tensor_ranks();

  CrossEntropy ce;
  ce.logits = context.tape.scratch(context.act, {rows, local_rows()});
  ce.targets = targets;
  ce.first_column = table_.first_row();
  ce.valid_columns = table_.valid_rows();
  ce.vocabulary = table_.vocabulary();
  ce.label_smoothing = label_smoothing;

  Matmul product;
  product.a = x;
  product.b = weight.value;
  product.transpose_b = true;
  product.bias = bias_value();
  product.c = ce.logits;
  product.b_is_parameter = true;
  product.row_invariant = context.row_invariant;
  context.ops.matmul(product);

  // [ranks, rows, 4]: this rank fills its slice, the group gathers the others'.
  const Tensor all = context.tape.scratch(DType::f32, {ranks, rows, kCrossEntropyStatistics});
  const Tensor own = all[context.mesh.tensor_rank()];
  context.ops.cross_entropy_statistics(ce, own);
  context.gather_over_tensor_group(own, all, "softmax statistics");
  const Tensor log_sum_exp = context.tape.scratch(DType::f32, {rows});
  context.ops.cross_entropy_merge(ce, all, loss, log_sum_exp);
  if (!dx) return;

  context.ops.cross_entropy_backward(ce, log_sum_exp, scale);
  Matmul input;
  input.a = ce.logits;
  input.b = weight.value;
  input.c = dx;
  input.b_is_parameter = true;
  context.ops.matmul(input);
  Matmul gradient;
  gradient.a = ce.logits;
  gradient.b = x;
  gradient.c = weight.gradient;
  gradient.transpose_a = true;
  gradient.accumulate = true;
  context.ops.matmul(gradient);
  if (bias_) context.ops.bias_gradient(ce.logits, bias_->gradient.view({local_rows()}));
}

void VocabularyParallelHead::logits(Context& context, const Tensor& x, const Tensor& logits) const {
  Tape::Scope scope(context.tape);
  const Tensor own = logits[context.mesh.tensor_rank()];
  Matmul product;
  product.a = x;
  product.b = table_.weight().value;
  product.transpose_b = true;
  product.bias = bias_value();
  product.c = own;
  product.b_is_parameter = true;
  product.row_invariant = context.row_invariant;
  context.ops.matmul(product);
  context.gather_over_tensor_group(own, logits, "logits");
}

}  // namespace heddle
