#include "kernels/reference/cross_entropy.h"

#include <cmath>

#include "kernels/error.h"
#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(CrossEntropyTest);

struct Case {
  std::int64_t rows, valid, padding;
  float label_smoothing = 0;
  std::int64_t row_stride_extra = 0;  // the logits are columns of a wider matrix
};

const Case kCases[] = {{1, 1, 0},      {3, 2, 1},           {5, 17, 0, 0.1f}, {33, 1000, 24},
                       {7, 50257, 47}, {70, 500, 12, 0.2f}, {0, 9, 0},        {6, 31, 2, 0.1f, 13}};

template <typename Real>
reference::CrossEntropyInput<Real> reference_input(const Array<Real>& wide, const Case& c,
                                                   const std::vector<std::int32_t>& targets) {
  reference::CrossEntropyInput<Real> input;
  input.logits = Array<Real>({c.rows, c.valid + c.padding});
  for (std::int64_t n = 0; n < c.rows; ++n)
    for (std::int64_t v = 0; v < c.valid + c.padding; ++v) input.logits(n, v) = wide(n, v);
  input.targets = targets;
  input.valid_columns = input.vocabulary = c.valid;
  input.label_smoothing = c.label_smoothing;
  return input;
}

template <typename Real>
Array<Real> as_one_slice(Array<Real> statistics) {
  statistics.shape = {1, statistics.shape[0], 4};
  return statistics;
}

TEST_P(CrossEntropyTest, WholeVocabulary) {
  Random random;
  for (const Case& c : kCases) {
    const std::int64_t columns = c.valid + c.padding, stride = columns + c.row_stride_extra;
    const std::string what =
        "cross_entropy [" + std::to_string(c.rows) + ", " + std::to_string(columns) + "]";
    std::vector<std::int32_t> target_values =
        random.integers(c.rows, 0, static_cast<std::int32_t>(c.valid) - 1);
    for (std::int64_t n = 2; n < c.rows; n += 3) target_values[n] = n % 2 ? -100 : -1;

    Array<double> logit_values = random.normal({c.rows, stride}, 4);
    for (std::int64_t n = 0; n < c.rows; ++n)
      for (std::int64_t v = c.valid; v < columns; ++v) logit_values(n, v) = 1e4;  // padding that would show
    const Buffer wide(device(), act(), logit_values), targets(device(), target_values);
    const Buffer statistics(device(), DType::f32, Shape{c.rows, 4});
    const Buffer loss(device(), DType::f32, Shape{c.rows}), log_sum_exp(device(), DType::f32, Shape{c.rows});

    CrossEntropy op;
    op.logits = wide.tensor().slice(1, 0, columns);
    op.targets = targets;
    op.valid_columns = op.vocabulary = c.valid;
    op.label_smoothing = c.label_smoothing;

    const auto exact = reference_input(wide.values<double>(), c, target_values);
    const auto naive = reference_input(wide.values<float>(), c, target_values);
    ops().cross_entropy_statistics(op, statistics);
    const auto exact_statistics = reference::cross_entropy_statistics(exact);
    const auto naive_statistics = reference::cross_entropy_statistics(naive);
    expect_close(statistics, exact_statistics, naive_statistics, what + " statistics");

    ops().cross_entropy_merge(op, statistics.tensor().view({1, c.rows, 4}), loss, log_sum_exp);
    const auto exact_loss = reference::cross_entropy_merge(exact, as_one_slice(exact_statistics));
    const auto naive_loss = reference::cross_entropy_merge(naive, as_one_slice(naive_statistics));
    expect_close(loss, exact_loss.loss, naive_loss.loss, what + " loss");
    expect_close(log_sum_exp, exact_loss.log_sum_exp, naive_loss.log_sum_exp, what + " log_sum_exp");
    for (std::int64_t n = 0; n < c.rows; ++n)
      if (target_values[n] < 0) {
        EXPECT_EQ(loss.values<float>()(n), 0.0f);
      }

    const Scalar<float> scale(device(), 0.37f);
    const auto exact_gradient =
        reference::cross_entropy_backward(exact, log_sum_exp.values<double>(), double(0.37f));
    const auto naive_gradient = reference::cross_entropy_backward(naive, log_sum_exp.values<float>(), 0.37f);
    ops().cross_entropy_backward(op, log_sum_exp, scale.get());
    const Array<double> after = wide.values<double>();
    Array<double> gradient({c.rows, columns});
    for (std::int64_t n = 0; n < c.rows; ++n)
      for (std::int64_t v = 0; v < stride; ++v)
        if (v < columns)
          gradient(n, v) = after(n, v);
        else  // beyond the columns given, nothing changes
          ASSERT_EQ(after(n, v), act() == DType::bf16 ? float(bfloat16(float(logit_values(n, v))))
                                                      : float(logit_values(n, v)));
    expect_close(Buffer(device(), act(), gradient), exact_gradient, naive_gradient, what + " gradient");
    for (std::int64_t n = 0; n < c.rows; ++n)
      for (std::int64_t v = 0; v < columns; ++v)
        if (v >= c.valid || target_values[n] < 0) {
          ASSERT_EQ(gradient(n, v), 0);
        }
  }
}

// Three slices of the vocabulary (one all padding), merged: the loss of the whole, and each slice's gradient.
TEST_P(CrossEntropyTest, SlicesOfTheVocabulary) {
  Random random;
  constexpr std::int64_t kRows = 12, kVocabulary = 100, kSlice = 60, kSlices = 3;
  for (float label_smoothing : {0.0f, 0.1f}) {
    std::vector<std::int32_t> target_values = random.integers(kRows, 0, kVocabulary - 1);
    target_values[4] = -1;
    const Buffer whole(device(), act(), random.normal({kRows, kVocabulary}, 3)),
        targets(device(), target_values);
    const Case whole_case{kRows, kVocabulary, 0, label_smoothing};
    const auto exact = reference_input(whole.values<double>(), whole_case, target_values);
    const auto naive = reference_input(whole.values<float>(), whole_case, target_values);
    const auto exact_loss =
        reference::cross_entropy_merge(exact, as_one_slice(reference::cross_entropy_statistics(exact)));
    const auto naive_loss =
        reference::cross_entropy_merge(naive, as_one_slice(reference::cross_entropy_statistics(naive)));

    std::vector<Buffer> slices;
    std::vector<CrossEntropy> op(kSlices);
    const Buffer all(device(), DType::f32, Shape{kSlices, kRows, 4});
    for (std::int64_t s = 0; s < kSlices; ++s) {
      Array<double> part({kRows, kSlice}, 77.0);
      const std::int64_t valid = std::clamp<std::int64_t>(kVocabulary - s * kSlice, 0, kSlice);
      for (std::int64_t n = 0; n < kRows; ++n)
        for (std::int64_t v = 0; v < valid; ++v) part(n, v) = exact.logits(n, s * kSlice + v);
      slices.emplace_back(device(), act(), part);
      op[s].logits = slices.back();
      op[s].targets = targets;
      op[s].first_column = s * kSlice;
      op[s].valid_columns = valid;
      op[s].vocabulary = kVocabulary;
      op[s].label_smoothing = label_smoothing;
      ops().cross_entropy_statistics(op[s], all.tensor()[s]);
    }
    const Buffer loss(device(), DType::f32, Shape{kRows}), log_sum_exp(device(), DType::f32, Shape{kRows});
    ops().cross_entropy_merge(op[0], all, loss, log_sum_exp);
    expect_close(loss, exact_loss.loss, naive_loss.loss, "loss of slices");
    expect_close(log_sum_exp, exact_loss.log_sum_exp, naive_loss.log_sum_exp, "log_sum_exp of slices");

    const Scalar<float> scale(device(), 1.0f);
    const auto exact_gradient = reference::cross_entropy_backward(exact, log_sum_exp.values<double>(), 1.0);
    const auto naive_gradient = reference::cross_entropy_backward(naive, log_sum_exp.values<float>(), 1.0f);
    Array<double> gradient({kRows, kVocabulary});
    for (std::int64_t s = 0; s < kSlices; ++s) {
      ops().cross_entropy_backward(op[s], log_sum_exp, scale.get());
      const Array<double> part = slices[s].values<double>();
      for (std::int64_t n = 0; n < kRows; ++n)
        for (std::int64_t v = 0; v < kSlice; ++v)
          if (v < op[s].valid_columns)
            gradient(n, s * kSlice + v) = part(n, v);
          else
            EXPECT_EQ(part(n, v), 0);
    }
    expect_close(Buffer(device(), act(), gradient), exact_gradient, naive_gradient, "gradient of slices");
  }
}

// Logits of a masked vocabulary entry (-infinity) and huge ones leave the loss finite.
TEST_P(CrossEntropyTest, InfiniteAndHugeLogits) {
  Array<double> values({2, 4});
  values.values = {-INFINITY, 1, 2, 3, 3e4, 2e4, -3e4, 0};
  const Buffer logits(device(), act(), values), targets(device(), std::vector<std::int32_t>{1, 1});
  const Buffer statistics(device(), DType::f32, Shape{2, 4});
  const Buffer loss(device(), DType::f32, Shape{2}), log_sum_exp(device(), DType::f32, Shape{2});
  CrossEntropy op;
  op.logits = logits;
  op.targets = targets;
  op.valid_columns = op.vocabulary = 4;
  const double largest = logits.values<double>()(1, 0), target = logits.values<double>()(1, 1);
  ops().cross_entropy_statistics(op, statistics);
  ops().cross_entropy_merge(op, statistics.tensor().view({1, 2, 4}), loss, log_sum_exp);
  EXPECT_NEAR(loss.values<float>()(0), std::log(std::exp(0.0) + std::exp(1.0) + std::exp(2.0)), 1e-6);
  EXPECT_NEAR(loss.values<float>()(1), largest - target, 1e-2);
  const Scalar<float> scale(device(), 1.0f);
  ops().cross_entropy_backward(op, log_sum_exp, scale.get());
  EXPECT_EQ(logits.values<float>()(0, 0), 0.0f);
  EXPECT_EQ(logits.values<float>()(1, 0), 1.0f);
  EXPECT_EQ(logits.values<float>()(1, 1), -1.0f);
}

}  // namespace
}  // namespace heddle
