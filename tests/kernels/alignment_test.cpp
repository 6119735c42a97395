// Tensors that begin at an address which only their elements are aligned to: backends that read more at a
// time give the same results for them.
#include "kernels/reference/norm.h"
#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(AlignmentTest);

// One element past the beginning of its memory.
class Shifted {
 public:
  Shifted(Device& device, DType dtype, Shape shape)
      : device_(device), memory_(device, dtype, Shape{shape.count() + 1}) {
    tensor_ = Tensor(memory_.tensor().slice(0, 1, shape.count() + 1).data, dtype, shape);
  }
  Shifted(Device& device, const Buffer& values)
      : Shifted(device, values.tensor().dtype, values.tensor().shape) {
    device.ops().copy(values, tensor_);
  }
  operator const Tensor&() const { return tensor_; }

  Buffer aligned() const {
    Buffer copy(device_, tensor_.dtype, tensor_.shape);
    device_.ops().copy(tensor_, copy);
    return copy;
  }

 private:
  Device& device_;
  Buffer memory_;
  Tensor tensor_;
};

TEST_P(AlignmentTest, ElementwiseFamilies) {
  Random random;
  const Shape shape = {2, 9, 64};
  const Buffer x(device(), act(), random.normal(shape)), dy(device(), act(), random.normal(shape));
  const Buffer bias(device(), act(), random.normal({64})), y(device(), act(), shape);
  const Shifted sx(device(), x), sdy(device(), dy), sbias(device(), bias), sy(device(), act(), shape);
  const auto expect_equal = [&](const char* what) { EXPECT_EQ(sy.aligned().bytes(), y.bytes()) << what; };

  for (Activation kind : kAllActivations) {
    ops().activation_forward(kind, x, y);
    ops().activation_forward(kind, sx, sy);
    expect_equal("activation_forward");
    ops().activation_backward(kind, x, dy, y);
    ops().activation_backward(kind, sx, sdy, sy);
    expect_equal("activation_backward");
  }
  ops().add(x, dy, y);
  ops().add(sx, sdy, sy);
  expect_equal("add");
  ops().scale(x, 0.7f, y);
  ops().scale(sx, 0.7f, sy);
  expect_equal("scale");
  ops().fill(y, 3);
  ops().fill(sy, 3);
  expect_equal("fill");

  const Scalar<std::uint32_t> step(device(), 11);
  const Dropout dropout{0.3f, 77, step.get(), 2};
  ops().dropout(x, dropout, y);
  ops().dropout(sx, dropout, sy);
  expect_equal("dropout");
  ops().bias_dropout_residual(x, bias, dy, dropout, y);
  ops().bias_dropout_residual(sx, sbias, sdy, dropout, sy);
  expect_equal("bias_dropout_residual");
  const Buffer dbias(device(), DType::f32, Array<double>({64})),
      sdbias(device(), DType::f32, Array<double>({64}));
  ops().bias_dropout_residual_backward(dy, dropout, y, dbias);
  ops().bias_dropout_residual_backward(sdy, dropout, sy, sdbias);
  expect_equal("bias_dropout_residual_backward");
  const auto sums = dbias.values<double>(), shifted_sums = sdbias.values<double>();
  for (std::int64_t c = 0; c < 64; ++c) EXPECT_NEAR(shifted_sums(c), sums(c), 1e-4);
}

TEST_P(AlignmentTest, Gated) {
  Random random;
  const Buffer x(device(), act(), random.normal({9, 128})), dy(device(), act(), random.normal({9, 64}));
  const Buffer y(device(), act(), Shape{9, 64}), dx(device(), act(), Shape{9, 128});
  const Shifted sx(device(), x), sdy(device(), dy), sy(device(), act(), Shape{9, 64}),
      sdx(device(), act(), Shape{9, 128});
  ops().gated_forward(Activation::silu, x, y);
  ops().gated_forward(Activation::silu, sx, sy);
  EXPECT_EQ(sy.aligned().bytes(), y.bytes());
  ops().gated_backward(Activation::silu, x, dy, dx);
  ops().gated_backward(Activation::silu, sx, sdy, sdx);
  EXPECT_EQ(sdx.aligned().bytes(), dx.bytes());
}

TEST_P(AlignmentTest, Norms) {
  Random random;
  const Shape shape = {21, 64};
  const Buffer x(device(), act(), random.normal(shape)), dy(device(), act(), random.normal(shape));
  const Buffer weight(device(), act(), random.normal({64})), bias(device(), act(), random.normal({64}));
  const Shifted sx(device(), x), sdy(device(), dy), sweight(device(), weight), sbias(device(), bias);
  const Shifted y(device(), act(), shape), dx(device(), act(), shape);
  const Buffer mean(device(), DType::f32, Shape{21}), rstd(device(), DType::f32, Shape{21});
  const Buffer dweight(device(), DType::f32, Array<double>({64})),
      dbias(device(), DType::f32, Array<double>({64}));
  constexpr float kEpsilon = 1e-5f;

  ops().layer_norm_forward(sx, sweight, sbias, kEpsilon, y, mean, rstd);
  const auto forward = [&]<typename Real>(Real epsilon) {
    return reference::layer_norm_forward(x.values<Real>(), weight.values<Real>(), bias.values<Real>(),
                                         epsilon);
  };
  expect_close(y.aligned(), forward(double(kEpsilon)).y, forward(kEpsilon).y, "layer_norm_forward");

  ops().layer_norm_backward(sdy, sx, sweight, mean, rstd, false, dx, dweight, dbias);
  const auto backward = [&]<typename Real>(Real) {
    return reference::layer_norm_backward(dy.values<Real>(), x.values<Real>(), weight.values<Real>(),
                                          mean.values<Real>(), rstd.values<Real>());
  };
  const auto exact = backward(double{});
  const auto naive = backward(float{});
  expect_close(dx.aligned(), exact.dx, naive.dx, "dx");
  expect_close(dweight, exact.dweight, naive.dweight, "dweight");
  expect_close(dbias, exact.dbias, naive.dbias, "dbias");
}

}  // namespace
}  // namespace heddle
