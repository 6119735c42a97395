// Reference of the family "cross_entropy" (kernels/ops.h).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/reference/array.h"

namespace heddle::reference {

template <typename Real>
struct CrossEntropyInput {
  Array<Real> logits;                 // [N, Vlocal]; columns [0, valid_columns) count
  std::vector<std::int32_t> targets;  // [N]; negative: the row is ignored
  std::int64_t first_column = 0, valid_columns = 0, vocabulary = 0;
  Real label_smoothing = 0;
};

// [N, 4]: max, sum exp(logit - max), logit of the target or 0, sum of logits. All 0 for an ignored row;
// -infinity, 0, 0, 0 where no column counts.
template <typename Real>
Array<Real> cross_entropy_statistics(const CrossEntropyInput<Real>& input);

template <typename Real>
struct CrossEntropyLoss {
  Array<Real> loss;         // [N], 0 for ignored rows
  Array<Real> log_sum_exp;  // [N], 0 for ignored rows
};

// statistics [S, N, 4] of all slices of the vocabulary.
template <typename Real>
CrossEntropyLoss<Real> cross_entropy_merge(const CrossEntropyInput<Real>& input,
                                           const Array<Real>& statistics);

// -> gradient of the logits [N, Vlocal], times scale.
template <typename Real>
Array<Real> cross_entropy_backward(const CrossEntropyInput<Real>& input, const Array<Real>& log_sum_exp,
                                   Real scale);

}  // namespace heddle::reference
