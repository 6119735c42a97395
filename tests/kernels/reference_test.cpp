// The reference itself: every backward against central differences of its forward, in double. What the
// backends are tested against is thereby tied to the forward formulas, which are short enough to be compared
// with the papers.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "kernels/reference/activation.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/cross_entropy.h"
#include "kernels/reference/dropout.h"
#include "kernels/reference/embedding.h"
#include "kernels/reference/matmul.h"
#include "kernels/reference/norm.h"
#include "kernels/reference/rope.h"
#include "tests/kernels/op_test.h"

namespace heddle::reference {
namespace {

using test::kAllActivations;
using test::Random;
using Doubles = Array<double>;

// The scalar whose gradients are compared: the sum of weights times outputs, so that d output = weights.
double weighted_sum(const Doubles& weights, const Doubles& output) {
  double sum = 0;
  for (std::int64_t i = 0; i < output.count(); ++i) sum += weights.values[i] * output.values[i];
  return sum;
}

// `loss` reads x by reference; `gradient` claims to be its derivative with respect to x.
void expect_gradient(Doubles& x, const std::function<double()>& loss, const Doubles& gradient,
                     const std::string& what) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(x.shape.to_string(), gradient.shape.to_string()) << what;
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const double value = x.values[i];
    x.values[i] = value + kStep;
    const double above = loss();
    x.values[i] = value - kStep;
    const double below = loss();
    x.values[i] = value;
    const double difference = (above - below) / (2 * kStep);
    ASSERT_NEAR(gradient.values[i], difference, 2e-8 * (1 + std::abs(difference)))
        << what << ", element " << i;
  }
}

TEST(Reference, ActivationGradients) {
  Random random;
  for (Activation kind : kAllActivations) {
    Doubles x = random.normal({4, 6}, 2), gated = random.normal({3, 10}, 2);
    const Doubles dy = random.normal({4, 6}), d_gated = random.normal({3, 5});
    expect_gradient(
        x, [&] { return weighted_sum(dy, activation_forward(kind, x)); }, activation_backward(kind, x, dy),
        name_of(kind));
    expect_gradient(
        gated, [&] { return weighted_sum(d_gated, gated_forward(kind, gated)); },
        gated_backward(kind, gated, d_gated), std::string("gated ") + name_of(kind));
  }
}

// Values from the definitions in ops.h, as Python computes them.
TEST(Reference, ActivationValues) {
  EXPECT_NEAR(activate(Activation::gelu_tanh, 1.0), 0.841191990608277, 1e-14);
  EXPECT_NEAR(activate(Activation::gelu_tanh, -2.0), -0.045402305912225, 1e-14);
  EXPECT_NEAR(activate(Activation::gelu_erf, 1.0), 0.841344746068543, 1e-14);
  EXPECT_NEAR(activate(Activation::gelu_erf, -2.0), -0.045500263896358, 1e-14);
  EXPECT_NEAR(activate(Activation::silu, 1.0), 0.731058578630005, 1e-14);
  EXPECT_EQ(activate(Activation::relu, -1.0), 0);
  EXPECT_EQ(activate(Activation::relu, 2.0), 2);
}

TEST(Reference, DropoutGradients) {
  Random random;
  const std::uint32_t step = 5;
  Dropout settings;
  settings.probability = 0.3f;
  settings.key = 99;
  settings.step = &step;
  settings.first_sample = 2;
  Doubles x = random.normal({2, 3, 5}), bias = random.normal({5}), residual = random.normal({2, 3, 5});
  const Doubles dout = random.normal({2, 3, 5});
  const auto loss = [&] { return weighted_sum(dout, bias_dropout_residual(x, bias, residual, settings)); };
  const auto gradients = bias_dropout_residual_backward(dout, settings);
  expect_gradient(x, loss, gradients.dx, "dx");
  expect_gradient(bias, loss, gradients.dbias, "dbias");
  expect_gradient(residual, loss, dout, "residual");
}

TEST(Reference, NormGradients) {
  Random random;
  constexpr double kEpsilon = 1e-3;
  Doubles x = random.normal({3, 7}), weight = random.normal({7}), bias = random.normal({7});
  const Doubles dy = random.normal({3, 7});

  const auto layer_norm = [&] { return layer_norm_forward(x, weight, bias, kEpsilon); };
  const auto layer_loss = [&] { return weighted_sum(dy, layer_norm().y); };
  const auto gradients = layer_norm_backward(dy, x, weight, layer_norm().mean, layer_norm().rstd);
  expect_gradient(x, layer_loss, gradients.dx, "layer norm dx");
  expect_gradient(weight, layer_loss, gradients.dweight, "layer norm dweight");
  expect_gradient(bias, layer_loss, gradients.dbias, "layer norm dbias");

  const auto rms_norm = [&] { return rms_norm_forward(x, weight, kEpsilon); };
  const auto rms_loss = [&] { return weighted_sum(dy, rms_norm().y); };
  const auto rms_gradients = rms_norm_backward(dy, x, weight, rms_norm().rstd);
  expect_gradient(x, rms_loss, rms_gradients.dx, "RMS norm dx");
  expect_gradient(weight, rms_loss, rms_gradients.dweight, "RMS norm dweight");
}

TEST(Reference, NormsNormalise) {
  Random random;
  const Doubles x = random.normal({2, 50}, 3), ones({50}, 1.0);
  const Doubles layer = layer_norm_forward(x, ones, {}, 0.0).y, rms = rms_norm_forward(x, ones, 0.0).y;
  for (std::int64_t n = 0; n < 2; ++n) {
    double mean = 0, squares = 0, rms_squares = 0;
    for (std::int64_t c = 0; c < 50; ++c) {
      mean += layer(n, c) / 50;
      squares += layer(n, c) * layer(n, c) / 50;
      rms_squares += rms(n, c) * rms(n, c) / 50;
    }
    EXPECT_NEAR(mean, 0, 1e-14);
    EXPECT_NEAR(squares, 1, 1e-13);
    EXPECT_NEAR(rms_squares, 1, 1e-13);
  }
}

TEST(Reference, RopeGradients) {
  Random random;
  Doubles x = random.normal({2, 3, 2, 8});
  const Doubles dy = random.normal({2, 3, 2, 8});
  const std::vector<std::int32_t> positions = {0, 1, 7, 3, 2, 50};
  expect_gradient(
      x, [&] { return weighted_sum(dy, rope(x, positions, 6, 100.0, false)); }, rope(dy, positions, 6, 100.0, true),
      "rope");
}

// Position 2 of a head of 4 at base 100: angles of 2 and 0.2 radians, as Python computes them.
TEST(Reference, RopeValues) {
  Doubles x({1, 1, 1, 4});
  x.values = {1, 2, 3, 4};
  const Doubles y = rope(x, {2}, 4, 100.0, false);
  EXPECT_NEAR(y.values[0], -3.1440391170241875, 1e-14);
  EXPECT_NEAR(y.values[1], 1.1654558325022384, 1e-14);
  EXPECT_NEAR(y.values[2], -0.33914308281574557, 1e-14);
  EXPECT_NEAR(y.values[3], 4.317604972955089, 1e-14);
}

TEST(Reference, EmbeddingGradient) {
  Random random;
  const std::vector<std::int32_t> ids = {5, 1, 5, 9, 4};
  Doubles table = random.normal({4, 3});
  const Doubles dout = random.normal({5, 3});
  expect_gradient(
      table, [&] { return weighted_sum(dout, embedding_forward(ids, table, 3)); },
      embedding_backward(ids, dout, 3, 4), "embedding");
}

TEST(Reference, MatmulTransposesAgree) {
  Random random;
  const Doubles a = random.normal({3, 4}), b = random.normal({4, 5});
  Doubles at({4, 3}), bt({5, 4});
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t k = 0; k < 4; ++k) at(k, i) = a(i, k);
  for (std::int64_t k = 0; k < 4; ++k)
    for (std::int64_t j = 0; j < 5; ++j) bt(j, k) = b(k, j);
  const Doubles plain = matmul(a, b).c;
  EXPECT_EQ(matmul(at, b, true, false).c.values, plain.values);
  EXPECT_EQ(matmul(a, bt, false, true).c.values, plain.values);
  EXPECT_EQ(matmul(at, bt, true, true).c.values, plain.values);
  EXPECT_NEAR(plain(1, 2), a(1, 0) * b(0, 2) + a(1, 1) * b(1, 2) + a(1, 2) * b(2, 2) + a(1, 3) * b(3, 2),
              1e-14);
}

TEST(Reference, BiasGradient) {
  Random random;
  const Doubles a = random.normal({4, 3}), b = random.normal({3, 5}), dc = random.normal({4, 5});
  Doubles bias = random.normal({5});
  expect_gradient(
      bias, [&] { return weighted_sum(dc, matmul(a, b, false, false, bias).c); }, bias_gradient(dc), "dbias");
}

TEST(Reference, AttentionGradients) {
  Random random;
  const std::uint32_t step = 3;
  for (bool causal : {false, true})
    for (float probability : {0.0f, 0.25f})
      for (bool with_lengths : {false, true}) {
        AttentionInput<double> in;
        in.q = random.normal({2, 3, 4, 3});
        in.k = random.normal({2, 5, 2, 3});
        in.v = random.normal({2, 5, 2, 3});
        in.scale = 0.7;
        in.causal = causal;
        if (with_lengths) in.key_lengths = {4, 0};
        in.dropout.probability = probability;
        in.dropout.key = 12;
        in.dropout.step = &step;
        in.first_head = 4;
        const Doubles d_o = random.normal({2, 3, 4, 3});
        const auto loss = [&] { return weighted_sum(d_o, attention_forward(in).o); };
        const auto gradients = attention_backward(in, d_o);
        expect_gradient(in.q, loss, gradients.dq, "dq");
        expect_gradient(in.k, loss, gradients.dk, "dk");
        expect_gradient(in.v, loss, gradients.dv, "dv");
      }
}

TEST(Reference, AttentionMasks) {
  Random random;
  AttentionInput<double> in;
  in.q = random.normal({1, 2, 1, 4});
  in.k = random.normal({1, 3, 1, 4});
  in.v = random.normal({1, 3, 1, 4});
  in.causal = true;  // query 0 sees keys 0 and 1, query 1 all three
  const auto before = attention_forward(in);
  in.v(0, 2, 0, 1) += 1;
  const auto after = attention_forward(in);
  EXPECT_EQ(before.o(0, 0, 0, 1), after.o(0, 0, 0, 1));
  EXPECT_NE(before.o(0, 1, 0, 1), after.o(0, 1, 0, 1));

  in.key_lengths = {0};
  const auto blind = attention_forward(in);
  EXPECT_EQ(blind.log_sum_exp(0, 0, 1), -INFINITY);
  EXPECT_EQ(blind.o(0, 1, 0, 1), 0);

  in.key_lengths = {1};  // a single key: its value, whatever the scores
  const auto single = attention_forward(in);
  EXPECT_NEAR(single.o(0, 1, 0, 2), in.v(0, 0, 0, 2), 1e-15);
}

TEST(Reference, CrossEntropyGradient) {
  Random random;
  for (double label_smoothing : {0.0, 0.2}) {
    CrossEntropyInput<double> in;
    in.logits = random.normal({4, 7}, 2);
    in.targets = {3, -1, 0, 4};
    in.valid_columns = in.vocabulary = 5;
    in.label_smoothing = label_smoothing;
    const auto merged = [&] {
      Doubles statistics = cross_entropy_statistics(in);
      statistics.shape = {1, 4, 4};
      return cross_entropy_merge(in, statistics);
    };
    expect_gradient(
        in.logits, [&] { return 0.3 * weighted_sum(Doubles({4}, 1.0), merged().loss); },
        cross_entropy_backward(in, merged().log_sum_exp, 0.3), "logits");
  }
}

// Equal logits: the loss is the logarithm of the vocabulary, whatever the smoothing.
TEST(Reference, CrossEntropyOfUniformLogits) {
  CrossEntropyInput<double> in;
  in.logits = Doubles({1, 8}, 1.25);
  in.targets = {2};
  in.valid_columns = in.vocabulary = 8;
  for (double label_smoothing : {0.0, 0.5}) {
    in.label_smoothing = label_smoothing;
    Doubles statistics = cross_entropy_statistics(in);
    statistics.shape = {1, 1, 4};
    EXPECT_NEAR(cross_entropy_merge(in, statistics).loss(0), std::log(8.0), 1e-14);
  }
}

}  // namespace
}  // namespace heddle::reference
