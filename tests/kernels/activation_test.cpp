#include "kernels/reference/activation.h"

#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(ActivationTest);

// Values from the middle of the curves to far out on both sides.
Array<double> spread(Random& random, Shape shape) {
  Array<double> x = random.normal(shape, 3);
  for (std::int64_t i = 0; i < x.count(); i += 11) x.values[i] *= 8;
  for (std::int64_t i = 5; i < x.count(); i += 29) x.values[i] = 0;
  return x;
}

TEST_P(ActivationTest, ForwardAndBackward) {
  Random random;
  for (Activation kind : kAllActivations)
    for (const RowsAndWidth& size : matrix_sizes()) {
      const std::string what = std::string(name_of(kind)) + to_string(size);
      const Buffer x(device(), act(), spread(random, {size.rows, size.width}));
      const Buffer dy(device(), act(), random.normal({size.rows, size.width}));
      const Buffer y(device(), act(), x.tensor().shape), dx(device(), act(), x.tensor().shape);

      ops().activation_forward(kind, x, y);
      expect_close(y, reference::activation_forward(kind, x.values<double>()),
                   reference::activation_forward(kind, x.values<float>()), what);

      ops().activation_backward(kind, x, dy, dx);
      expect_close(dx, reference::activation_backward(kind, x.values<double>(), dy.values<double>()),
                   reference::activation_backward(kind, x.values<float>(), dy.values<float>()),
                   what + " backward");

      ops().activation_backward(kind, x, dy, dy);  // in place
      EXPECT_EQ(dy.bytes(), dx.bytes()) << what;
      ops().activation_forward(kind, x, x);
      EXPECT_EQ(x.bytes(), y.bytes()) << what;
    }
}

TEST_P(ActivationTest, Gated) {
  Random random;
  for (Activation kind : kAllActivations)
    for (const RowsAndWidth& size : matrix_sizes()) {
      const std::string what = std::string("gated ") + name_of(kind) + to_string(size);
      const Buffer x(device(), act(), spread(random, {size.rows, 2 * size.width}));
      const Buffer dy(device(), act(), random.normal({size.rows, size.width}));
      const Buffer y(device(), act(), dy.tensor().shape), dx(device(), act(), x.tensor().shape);

      ops().gated_forward(kind, x, y);
      expect_close(y, reference::gated_forward(kind, x.values<double>()),
                   reference::gated_forward(kind, x.values<float>()), what);

      ops().gated_backward(kind, x, dy, dx);
      expect_close(dx, reference::gated_backward(kind, x.values<double>(), dy.values<double>()),
                   reference::gated_backward(kind, x.values<float>(), dy.values<float>()),
                   what + " backward");
    }
}

// The tails: nothing overflows into NaN, and gelu(-large) is a clean 0.
TEST_P(ActivationTest, ExtremeInputs) {
  Array<double> values({1, 6});
  values.values = {-1e4, -100, -20, 20, 100, 1e4};
  for (Activation kind : kAllActivations) {
    if (kind == Activation::none) continue;
    const Buffer x(device(), act(), values), y(device(), act(), values.shape),
        dx(device(), act(), values.shape);
    Array<double> ones(values.shape, 1.0);
    const Buffer dy(device(), act(), ones);
    ops().activation_forward(kind, x, y);
    ops().activation_backward(kind, x, dy, dx);
    const Array<double> rounded = x.values<double>(), result = y.values<double>(),
                        slope = dx.values<double>();
    for (int i = 0; i < 3; ++i) {
      EXPECT_NEAR(result.values[i], 0, 1e-6) << name_of(kind);
      EXPECT_NEAR(slope.values[i], 0, 1e-6) << name_of(kind);
      EXPECT_EQ(result.values[3 + i], rounded.values[3 + i]) << name_of(kind);
      EXPECT_NEAR(slope.values[3 + i], 1, 1e-6) << name_of(kind);
    }
  }
}

}  // namespace
}  // namespace heddle
