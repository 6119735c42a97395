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
      const AdamWStep step = {3e-2f, 0.271f, 0.0997f, 0.5f};
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
  const Scalar<AdamWStep> step(device(), {0.1f, 1 - 0.9f, 1 - 0.999f, 1.0f});
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
    ops().squared_norm(x, squares.get());
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
      const Scalar<AdamWStep> step(device(), {1, 2, 3, NAN});
      ops().clip_scale(squares.get(), max_norm, step.get());
      EXPECT_FLOAT_EQ(step.value().gradient_scale,
                      static_cast<float>(reference::clip_scale<double>(sum, max_norm)))
          << sum << " " << max_norm;
      EXPECT_EQ(step.value().learning_rate, 1.0f);
      EXPECT_EQ(step.value().bias_correction2, 3.0f);
    }
}

}  // namespace
}  // namespace heddle
