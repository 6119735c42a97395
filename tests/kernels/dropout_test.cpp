#include "kernels/reference/dropout.h"

#include <cmath>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(DropoutTest);

// A dropout whose step lies in device memory, and the same for the reference in host memory.
struct DropoutPair {
  DropoutPair(Device& device, float probability, std::uint32_t step, std::uint32_t first_sample)
      : host_step(step), device_step(device, step) {
    on_host.probability = probability;
    on_host.key = philox_key(42, "dropout/test");
    on_host.step = &host_step;
    on_host.first_sample = first_sample;
    on_device = on_host;
    on_device.step = device_step.get();
  }
  std::uint32_t host_step;
  Scalar<std::uint32_t> device_step;
  Dropout on_host, on_device;
};

// Sample sizes that are and are not multiples of Philox's four words.
TEST_P(DropoutTest, MaskIsTheDefinition) {
  Random random;
  for (float probability : {0.0f, 0.1f, 0.5f, 0.999f})
    for (Shape shape : {Shape{3, 1}, Shape{1, 17}, Shape{5, 3, 7}, Shape{2, 40, 65}, Shape{3, 5000},
                        Shape{0, 4}, Shape{2, 16, 768}, Shape{9}}) {
      DropoutPair dropout(device(), probability, 17, 0xfffffffeu);  // sample numbers wrap around
      const Buffer x(device(), act(), random.normal(shape)), y(device(), act(), shape);
      ops().dropout(x, dropout.on_device, y);
      const auto exact = reference::dropout(x.values<double>(), dropout.on_host);
      expect_close(y, exact, reference::dropout(x.values<float>(), dropout.on_host),
                   "dropout " + shape.to_string());
      const auto actual = y.values<double>();
      for (std::int64_t i = 0; i < y.tensor().count(); ++i)
        ASSERT_EQ(actual.values[i] == 0, exact.values[i] == 0) << "another mask at element " << i;
      ops().dropout(x, dropout.on_device, x);
      EXPECT_EQ(x.bytes(), y.bytes()) << "in place";
    }
}

// The columns that a tensor-parallel rank holds get the mask they have in the whole tensor.
TEST_P(DropoutTest, OfAPartOfTheColumnsIsThatPartOfTheWhole) {
  Random random;
  for (const auto& [columns, parts] : {std::pair{96, 4}, {2048, 2}, {15, 3}, {7, 7}}) {
    DropoutPair dropout(device(), 0.3f, 11, 2);
    const std::int64_t held = columns / parts;
    for (int part = 0; part < parts; ++part) {
      const Buffer x(device(), act(), random.normal({3, 5, held})), y(device(), act(), Shape{3, 5, held});
      for (Dropout* d : {&dropout.on_host, &dropout.on_device}) d->columns = columns, d->first_column = part * held;
      ops().dropout(x, dropout.on_device, y);
      const auto values = x.values<double>(), actual = y.values<double>();
      for (std::int64_t b = 0; b < 3; ++b)
        for (std::int64_t t = 0; t < 5; ++t)
          for (std::int64_t c = 0; c < held; ++c) {
            const double factor = reference::dropout_factor<double>(
                dropout.on_host, static_cast<std::uint32_t>(2 + b),
                static_cast<std::uint64_t>(t * columns + part * held + c));
            const std::int64_t i = (b * 5 + t) * held + c;
            ASSERT_EQ(actual.values[i] == 0, factor * values.values[i] == 0) << columns << " columns, element " << i;
          }
      expect_close(y, reference::dropout(x.values<double>(), dropout.on_host),
                   reference::dropout(x.values<float>(), dropout.on_host), "dropout of columns");
    }
  }
  DropoutPair outside(device(), 0.3f, 11, 2);
  outside.on_device.columns = 8, outside.on_device.first_column = 5;
  const Buffer x(device(), act(), random.normal({2, 4}));
  EXPECT_THROW(ops().dropout(x, outside.on_device, x), Error);
}

TEST_P(DropoutTest, BiasDropoutResidual) {
  Random random;
  for (float probability : {0.0f, 0.2f})
    for (Shape shape :
         {Shape{1, 1, 1}, Shape{2, 3, 17}, Shape{3, 2, 768}, Shape{2, 21, 1100}, Shape{0, 3, 8}})
      for (bool with_bias : {true, false}) {
        const std::string what = "bias_dropout_residual " + shape.to_string();
        DropoutPair dropout(device(), probability, 3, 5);
        const Buffer x(device(), act(), random.normal(shape)),
            residual(device(), act(), random.normal(shape));
        const Buffer bias(device(), act(), random.normal({shape[2]})), out(device(), act(), shape);
        const Tensor given = with_bias ? bias.tensor() : Tensor{};
        ops().bias_dropout_residual(x, given, residual, dropout.on_device, out);
        const auto expected = [&]<typename Real>(Real) {
          return reference::bias_dropout_residual(x.values<Real>(),
                                                  with_bias ? bias.values<Real>() : Array<Real>{},
                                                  residual.values<Real>(), dropout.on_host);
        };
        expect_close(out, expected(double{}), expected(float{}), what);

        const Buffer dout(device(), act(), random.normal(shape)), dx(device(), act(), shape);
        const Buffer dbias(device(), DType::f32, random.normal({shape[2]}));
        auto exact = reference::bias_dropout_residual_backward(dout.values<double>(), dropout.on_host);
        auto naive = reference::bias_dropout_residual_backward(dout.values<float>(), dropout.on_host);
        exact.dbias = plus(exact.dbias, dbias.values<double>());
        naive.dbias = plus(naive.dbias, dbias.values<float>());
        if (!with_bias) {
          exact.dbias = dbias.values<double>();
          naive.dbias = dbias.values<float>();
        }
        ops().bias_dropout_residual_backward(dout, dropout.on_device, dx,
                                             with_bias ? dbias.tensor() : Tensor{});
        expect_close(dx, exact.dx, naive.dx, what + " dx");
        expect_close(dbias, exact.dbias, naive.dbias, what + " dbias");

        ops().bias_dropout_residual(x, given, residual, dropout.on_device, residual);
        EXPECT_EQ(residual.bytes(), out.bytes()) << "in place";
        ops().bias_dropout_residual_backward(dout, dropout.on_device, dout, {});
        EXPECT_EQ(dout.bytes(), dx.bytes()) << "in place";
      }
}

TEST_P(DropoutTest, InPlaceOfTheInput) {
  Random random;
  DropoutPair dropout(device(), 0.3f, 0, 0);
  const Shape shape = {2, 5, 33};
  const Buffer x(device(), act(), random.normal(shape)), residual(device(), act(), random.normal(shape));
  const Buffer out(device(), act(), shape);
  ops().bias_dropout_residual(x, {}, residual, dropout.on_device, out);
  ops().bias_dropout_residual(x, {}, residual, dropout.on_device, x);
  EXPECT_EQ(x.bytes(), out.bytes());
}

// The mask of a sample does not depend on which other samples are on the device.
TEST_P(DropoutTest, SamplesStandAlone) {
  Random random;
  const Buffer x(device(), DType::f32, random.normal({4, 333})), y(device(), DType::f32, Shape{4, 333});
  DropoutPair all(device(), 0.4f, 9, 100);
  ops().dropout(x, all.on_device, y);
  for (std::uint32_t b = 0; b < 4; ++b) {
    DropoutPair one(device(), 0.4f, 9, 100 + b);
    const Buffer alone(device(), DType::f32, Shape{1, 333});
    ops().dropout(x.tensor().slice(0, b, b + 1), one.on_device, alone);
    const auto whole = y.values<double>(), part = alone.values<double>();
    for (std::int64_t i = 0; i < 333; ++i) ASSERT_EQ(part(0, i), whole(b, i));
  }
}

// Kept shares and correlations within five standard deviations of a fair coin's.
TEST_P(DropoutTest, Statistics) {
  constexpr std::int64_t kSamples = 4, kElements = 250000;
  constexpr double kProbability = 0.1f;
  DropoutPair dropout(device(), 0.1f, 1, 0);
  const Buffer ones(device(), DType::f32, Array<double>({kSamples, kElements}, 1.0));
  const Buffer y(device(), DType::f32, Shape{kSamples, kElements});
  const auto mask_at = [&](std::uint32_t step) {
    DropoutPair at(device(), 0.1f, step, 0);
    ops().dropout(ones, at.on_device, y);
    Array<double> mask = y.values<double>();
    for (double& value : mask.values) value = (value != 0) - (1 - kProbability);  // centred
    return mask;
  };
  const Array<double> first = mask_at(1), second = mask_at(2);
  const double variance = kProbability * (1 - kProbability), count = kSamples * kElements;
  double sum = 0, neighbours = 0, across_blocks = 0, samples = 0, steps = 0;
  for (std::int64_t s = 0; s < kSamples; ++s)
    for (std::int64_t i = 0; i < kElements; ++i) {
      sum += first(s, i);
      neighbours += first(s, i) * first(s, (i + 1) % kElements);
      across_blocks += first(s, i) * first(s, (i + 4) % kElements);
      samples += first(s, i) * first((s + 1) % kSamples, i);
      steps += first(s, i) * second(s, i);
    }
  EXPECT_LT(std::abs(sum), 5 * std::sqrt(count * variance));
  for (double product : {neighbours, across_blocks, samples, steps})
    EXPECT_LT(std::abs(product), 5 * std::sqrt(count) * variance);
}

TEST_P(DropoutTest, ImpossibleProbabilityIsRefused) {
  const Buffer x(device(), act(), Array<double>({2, 2}));
  for (float probability : {-0.1f, 1.0f, NAN}) {
    DropoutPair dropout(device(), probability, 0, 0);
    EXPECT_THROW(ops().dropout(x, dropout.on_device, x), Error);
  }
}

}  // namespace
}  // namespace heddle
