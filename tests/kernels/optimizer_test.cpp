#include "kernels/reference/optimizer.h"

#include <cmath>

#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(OptimizerTest);

TEST_P(OptimizerTest, AdamW) {
  Random random;
  for (std::int64_t count : {0, 1, 3, 17, 768, 100003})
    for (bool with_copy : {true, false}) {
      const std::string what = "adamw [" + std::to_string(count) + "]";
      Array<double> second = random.normal({count});
      for (double& value : second.values) value *= value;
      const Buffer parameter(device(), DType::f32, random.normal({count}));
      const Buffer gradient(device(), DType::f32, random.normal({count}, 0.01));
      const Buffer moment1(device(), DType::f32, random.normal({count}, 0.01)),
          moment2(device(), DType::f32, reference::Array<double>(second));
      const Buffer copy(device(), DType::bf16, Shape{count});
      const AdamWStep step = {3e-2f, 0.271f, 0.0997f, 0.5f, 0};
      const Scalar<AdamWStep> device_step(device(), step);

      const auto expected = [&]<typename Real>(Real) {
        const reference::AdamWState<Real> state = {parameter.values<Real>(), moment1.values<Real>(),
                                                   moment2.values<Real>()};
        return reference::adamw<Real>(state, gradient.values<Real>(),
                                      {step.learning_rate, step.bias_correction1, step.bias_correction2,
                                       step.gradient_scale, 0.9f, 0.95f, 1e-8f, 0.1f});
      };
      const auto exact = expected(double{});
      const auto naive = expected(float{});
      AdamW op{parameter,        gradient, moment1, moment2, with_copy ? copy.tensor() : Tensor{},
               device_step.get()};
      op.beta1 = 0.9f;
      op.beta2 = 0.95f;
      op.epsilon = 1e-8f;
      op.weight_decay = 0.1f;
      ops().adamw(op);
      expect_close(parameter, exact.parameter, naive.parameter, what);
      expect_close(moment1, exact.moment1, naive.moment1, what + " moment1");
      expect_close(moment2, exact.moment2, naive.moment2, what + " moment2");
      if (with_copy) {
        EXPECT_EQ(copy.bytes(), Buffer(device(), DType::bf16, parameter.values<double>()).bytes()) << what;
      }
    }
}

// A gradient of zero moves the parameter by decay alone; the first step of plain Adam is the learning rate.
TEST_P(OptimizerTest, AdamWFirstStep) {
  Array<double> gradients({3});
  gradients.values = {0, 0.25, -1e-3};
  const Buffer gradient(device(), DType::f32, gradients);
  const Buffer parameter(device(), DType::f32, Array<double>({3}, 2.0));
  const Buffer moment1(device(), DType::f32, Array<double>({3})),
      moment2(device(), DType::f32, Array<double>({3}));
  const Scalar<AdamWStep> step(device(), {0.1f, 1 - 0.9f, 1 - 0.999f, 1.0f, 0});
  AdamW op{parameter, gradient, moment1, moment2, {}, step.get()};
  op.weight_decay = 0.5f;
  ops().adamw(op);
  const Array<double> moved = parameter.values<double>();
  EXPECT_NEAR(moved(0), 2 - 0.1, 1e-6);
  EXPECT_NEAR(moved(1), 2 - 0.1 - 0.1, 1e-5);
  EXPECT_NEAR(moved(2), 2 - 0.1 + 0.1, 1e-4);
}

TEST_P(OptimizerTest, Sums) {
  Random random;
  for (std::int64_t count : {0, 1, 3, 17, 1000, 32768, 200001}) {
    const Buffer x(device(), DType::f32, random.normal({count}));
    const Scalar<double> squares(device(), 2.5), total(device(), -1.5);
    ops().squared_norm(x, {}, squares.get());
    ops().sum(x, total.get());
    const double exact_squares = 2.5 + reference::squared_norm(x.values<double>());
    EXPECT_NEAR(squares.value(), exact_squares, 1e-12 * exact_squares);
    EXPECT_NEAR(total.value(), -1.5 + reference::sum(x.values<double>()), 1e-12 * (1 + count));
  }
}

TEST_P(OptimizerTest, ClipScale) {
  for (double sum : {0.0, 1e-30, 1.0, 4.0, 1e10, double(INFINITY), double(NAN)})
    for (float max_norm : {-1.0f, 0.0f, 0.5f, 1.0f, 100.0f}) {
      const Scalar<double> squares(device(), sum);
      const Scalar<AdamWStep> step(device(), {1, 2, 3, NAN, 7});
      const Scalar<double> loss(device(), 2.5);
      const Scalar<std::uint32_t> stopped(device(), 0);
      ops().clip_scale(squares.get(), loss.get(), max_norm, step.get(), stopped.get());
      EXPECT_FLOAT_EQ(step.value().gradient_scale,
                      static_cast<float>(reference::clip_scale<double>(sum, max_norm)))
          << sum << " " << max_norm;
      EXPECT_EQ(step.value().learning_rate, 1.0f);
      EXPECT_EQ(step.value().bias_correction2, 3.0f);
      EXPECT_EQ(step.value().skip, std::isfinite(sum) ? 0u : 1u) << sum;
      EXPECT_EQ(stopped.value(), step.value().skip);
    }
}

// A loss or norm that is not finite stops all later updates too.
TEST_P(OptimizerTest, AStoppedRunChangesNothing) {
  Random random;
  const Buffer parameter(device(), DType::f32, random.normal({100})),
      gradient(device(), DType::f32, random.normal({100}));
  const Buffer moment1(device(), DType::f32, random.normal({100})),
      moment2(device(), DType::f32, Array<double>({100}, 1.0));
  const Buffer copy(device(), DType::bf16, random.normal({100}));
  const Scalar<AdamWStep> step(device(), {0.1f, 1, 1, 1, 0});
  const Scalar<std::uint32_t> stopped(device(), 0);
  const Scalar<double> good(device(), 1.0), bad(device(), NAN);
  ops().clip_scale(good.get(), bad.get(), 1, step.get(), stopped.get());
  ops().clip_scale(good.get(), good.get(), 1, step.get(), stopped.get());
  EXPECT_EQ(step.value().skip, 1u);
  const auto before = parameter.bytes(), before1 = moment1.bytes(), before2 = moment2.bytes(),
             before_copy = copy.bytes();
  ops().adamw({parameter, gradient, moment1, moment2, copy, step.get()});
  EXPECT_EQ(parameter.bytes(), before);
  EXPECT_EQ(moment1.bytes(), before1);
  EXPECT_EQ(moment2.bytes(), before2);
  EXPECT_EQ(copy.bytes(), before_copy);
}

// One call with spans is the same as a call for each range.
TEST_P(OptimizerTest, Spans) {
  Random random;
  const std::int64_t count = 40000;
  const std::vector<std::int64_t> bounds = {64, 128, 256, 8192, 39936, 40000};
  const auto bytes = bounds.size() * sizeof(std::int64_t);
  const Memory bounds_memory = device().allocate(bytes);
  device().copy_to_device(device().compute_stream(),
                          Tensor(bounds_memory.data(), DType::u8, {static_cast<std::int64_t>(bytes)}),
                          bounds.data());
  device().compute_stream().synchronize();
  const Spans spans{static_cast<const std::int64_t*>(bounds_memory.data()), 3};

  const Array<double> start = random.normal({count});
  const Buffer gradient(device(), DType::f32, random.normal({count}, 0.01));
  const Scalar<AdamWStep> step(device(), {1e-2f, 0.1f, 0.05f, 0.5f, 0});
  const auto updated = [&](bool with_spans) {
    const Buffer parameter(device(), DType::f32, start),
        moment1(device(), DType::f32, Array<double>({count})),
        moment2(device(), DType::f32, Array<double>({count}));
    AdamW op{parameter, gradient, moment1, moment2, {}, step.get()};
    op.weight_decay = 0.3f;
    if (with_spans) {
      op.decayed = spans;
      ops().adamw(op);
      return parameter.bytes();
    }
    std::int64_t end = 0;
    const auto range = [&](std::int64_t begin, std::int64_t stop, float decay) {
      AdamW part = op;
      for (Tensor* x : {&part.parameter, &part.gradient, &part.moment1, &part.moment2})
        *x = x->slice(0, begin, stop);
      part.weight_decay = decay;
      ops().adamw(part);
      end = stop;
    };
    for (std::size_t i = 0; i < bounds.size(); i += 2) {
      range(end, bounds[i], 0);
      range(bounds[i], bounds[i + 1], 0.3f);
    }
    range(end, count, 0);
    return parameter.bytes();
  };
  EXPECT_EQ(updated(true), updated(false));

  const Scalar<double> squares(device(), 1.0);
  ops().squared_norm(gradient, spans, squares.get());
  const Array<double> g = gradient.values<double>();
  double exact = 1;
  for (std::size_t i = 0; i < bounds.size(); i += 2)
    for (std::int64_t e = bounds[i]; e < bounds[i + 1]; ++e) exact += g(e) * g(e);
  EXPECT_NEAR(squares.value(), exact, 1e-12 * exact);
}

}  // namespace
}  // namespace heddle
