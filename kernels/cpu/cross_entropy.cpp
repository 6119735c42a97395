// The family "cross_entropy": statistics of a slice of the vocabulary, their merge, and the gradient in
// place.
#include <cmath>
#include <limits>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/error.h"

namespace heddle {

using namespace cpu;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void check_targets(const char* operation, const CrossEntropy& c) {
  const std::int32_t* targets = c.targets.as<std::int32_t>();
  for (std::int64_t n = 0; n < c.targets.size(0); ++n)
    if (targets[n] >= c.vocabulary)
      throw error("{}: the target of row {} is {}, but the vocabulary has {} entries", operation, n,
                  targets[n], c.vocabulary);
}

// Column of the row's target in this slice, or -1.
std::int64_t target_column(const CrossEntropy& c, std::int64_t row) {
  const std::int64_t column = c.targets.as<std::int32_t>()[row] - c.first_column;
  return column >= 0 && column < c.valid_columns ? column : -1;
}

bool is_ignored(const CrossEntropy& c, std::int64_t row) {
  return c.targets.as<std::int32_t>()[row] < 0;
}

// [max, sum exp(logit - max), target logit, sum of logits]
template <typename T>
void row_statistics(const T* logits, std::int64_t columns, std::int64_t target, float* statistics) {
  FloatVector maxima = broadcast(-kInfinity);
  VectorSum logit_sum;
  for_each_vector(0, columns, [&](std::int64_t i, auto extent) {
    const FloatVector v = load(logits + i, extent);
    logit_sum.add(v);
    maxima = max(maxima, with_rest(v, -kInfinity, extent));
  });
  const float maximum = max_of_lanes(maxima);
  VectorSum exp_sum;
  for_each_vector(0, columns, [&](std::int64_t i, auto extent) {
    exp_sum.add(with_rest(exp(load(logits + i, extent) - maximum), 0, extent));
  });
  statistics[0] = maximum;
  statistics[1] = exp_sum.total();
  statistics[2] = target >= 0 ? static_cast<float>(logits[target]) : 0.0f;
  statistics[3] = logit_sum.total();
}

// logits become (softmax - target distribution) * scale in [0, valid), 0 in [valid, all).
template <typename T>
void row_gradient(const CrossEntropy& c, T* logits, std::int64_t target, float log_sum_exp, float scale) {
  const float uniform = c.label_smoothing / static_cast<float>(c.vocabulary);
  // The target's own entry may cancel to almost nothing: it is not computed from its rounded neighbour's
  // formula.
  float target_gradient = 0;
  if (target >= 0) {
    const float probability = std::exp(static_cast<float>(logits[target]) - log_sum_exp);
    target_gradient = (probability - (1.0f - c.label_smoothing) - uniform) * scale;
  }
  for_each_vector(0, c.valid_columns, [&](std::int64_t i, auto extent) {
    store(logits + i, (exp(load(logits + i, extent) - log_sum_exp) - uniform) * scale, extent);
  });
  if (target >= 0) logits[target] = T(target_gradient);
  std::fill(logits + c.valid_columns, logits + c.logits.size(1), T(0.0f));
}

}  // namespace

void CpuOps::cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) {
  checks::cross_entropy_statistics(c, statistics);
  check_targets("cross_entropy_statistics", c);
  with_act_type(c.logits.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(threads_, c.logits.size(0), c.valid_columns, [&](std::int64_t row) {
      float* to = statistics.as<float>() + row * kCrossEntropyStatistics;
      if (is_ignored(c, row))
        std::fill_n(to, kCrossEntropyStatistics, 0.0f);
      else
        row_statistics(c.logits.as<T>() + row * c.logits.stride[0], c.valid_columns, target_column(c, row),
                       to);
    });
  });
}

void CpuOps::cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                                 const Tensor& log_sum_exp) {
  checks::cross_entropy_merge(c, all, loss, log_sum_exp);
  const std::int64_t slices = all.size(0), rows = loss.size(0);
  const double smoothing = c.label_smoothing;
  parallel_rows(threads_, rows, 32 * slices, [&](std::int64_t row) {
    const auto statistics = [&](std::int64_t slice) {
      return all.as<float>() + (slice * rows + row) * kCrossEntropyStatistics;
    };
    double loss_of_row = 0, log_sum = 0;
    if (!is_ignored(c, row)) {
      double maximum = -kInfinity, exp_sum = 0, target_logit = 0, logit_sum = 0;
      for (std::int64_t s = 0; s < slices; ++s) maximum = std::max<double>(maximum, statistics(s)[0]);
      for (std::int64_t s = 0; s < slices; ++s) {
        exp_sum += statistics(s)[1] * std::exp(statistics(s)[0] - maximum);
        target_logit += statistics(s)[2];
        logit_sum += statistics(s)[3];
      }
      log_sum = maximum + std::log(exp_sum);
      loss_of_row = log_sum - (1 - smoothing) * target_logit;
      // Not 0 * logit_sum, which is NaN where a logit is -infinity.
      if (smoothing > 0) loss_of_row -= smoothing * logit_sum / static_cast<double>(c.vocabulary);
    }
    loss.as<float>()[row] = static_cast<float>(loss_of_row);
    log_sum_exp.as<float>()[row] = static_cast<float>(log_sum);
  });
}

void CpuOps::cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp, const float* scale) {
  checks::cross_entropy_backward(c, log_sum_exp);
  with_act_type(c.logits.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(threads_, c.logits.size(0), c.logits.size(1), [&](std::int64_t row) {
      T* logits = c.logits.as<T>() + row * c.logits.stride[0];
      if (is_ignored(c, row))
        std::fill_n(logits, c.logits.size(1), T(0.0f));
      else
        row_gradient(c, logits, target_column(c, row), log_sum_exp.as<float>()[row], *scale);
    });
  });
}

}  // namespace heddle
