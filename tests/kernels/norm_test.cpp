#include "kernels/reference/norm.h"

#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(NormTest);

constexpr float kEpsilon = 1e-5f;

// Rows with a mean that is large against their deviation, as the residual stream has.
Array<double> shifted_rows(Random& random, const RowsAndWidth& size, double shift) {
  Array<double> x = random.normal({size.rows, size.width}, 2);
  for (std::int64_t i = 0; i < x.count(); ++i) x.values[i] += shift * (1 + i / size.width % 3);
  return x;
}

Array<double> near_one(Random& random, std::int64_t width) {
  Array<double> weight = random.normal({width}, 0.2);
  for (double& value : weight.values) value += 1;
  return weight;
}

// Rows for one warp and several, with several rows for each, and rows that registers do not hold.
std::vector<RowsAndWidth> norm_sizes() {
  std::vector<RowsAndWidth> sizes = matrix_sizes();
  sizes.insert(sizes.end(), {{33, 1600}, {9, 12288}, {5, 17000}, {3, 1001}});
  return sizes;
}

TEST_P(NormTest, LayerNormForward) {
  Random random;
  for (const RowsAndWidth& size : norm_sizes())
    for (bool with_bias : {true, false})
      for (double shift : {0.0, 10.0}) {
        const std::string what = "layer_norm_forward " + to_string(size);
        const Buffer x(device(), act(), shifted_rows(random, size, shift));
        const Buffer weight(device(), act(), near_one(random, size.width));
        const Buffer bias(device(), act(), random.normal({size.width}));
        const Buffer y(device(), act(), x.tensor().shape);
        const Buffer mean(device(), DType::f32, Shape{size.rows}),
            rstd(device(), DType::f32, Shape{size.rows});
        ops().layer_norm_forward(x, weight, with_bias ? bias : Tensor{}, kEpsilon, y, mean, rstd);

        const auto exact = reference::layer_norm_forward(x.values<double>(), weight.values<double>(),
                                                         with_bias ? bias.values<double>() : Array<double>{},
                                                         double(kEpsilon));
        const auto naive =
            reference::layer_norm_forward(x.values<float>(), weight.values<float>(),
                                          with_bias ? bias.values<float>() : Array<float>{}, kEpsilon);
        expect_close(mean, exact.mean, naive.mean, what + " mean");
        // A single column has no variance of its own: what rounding leaves of it is compared with epsilon
        // only.
        expect_close(rstd, exact.rstd, naive.rstd, what + " rstd");
        expect_close(y, exact.y, naive.y, what);

        const Buffer again(device(), act(), x.tensor().shape);  // statistics are optional
        ops().layer_norm_forward(x, weight, with_bias ? bias : Tensor{}, kEpsilon, again, {}, {});
        EXPECT_EQ(again.bytes(), y.bytes());
      }
}

TEST_P(NormTest, LayerNormBackward) {
  Random random;
  for (const RowsAndWidth& size : norm_sizes())
    for (bool accumulate : {false, true})
      for (bool with_bias : {true, false}) {
        const std::string what = "layer_norm_backward " + to_string(size);
        const Buffer x(device(), act(), shifted_rows(random, size, 1));
        const Buffer weight(device(), act(), near_one(random, size.width));
        const Buffer dy(device(), act(), random.normal({size.rows, size.width}));
        const auto forward =
            reference::layer_norm_forward(x.values<double>(), weight.values<double>(), {}, double(kEpsilon));
        const Buffer mean(device(), DType::f32, forward.mean), rstd(device(), DType::f32, forward.rstd);
        const Buffer dx(device(), act(), random.normal({size.rows, size.width}));
        const Buffer dweight(device(), DType::f32, random.normal({size.width}));
        const Buffer dbias(device(), DType::f32, random.normal({size.width}));

        const auto expected = [&]<typename Real>(Real) {
          auto grad =
              reference::layer_norm_backward(dy.values<Real>(), x.values<Real>(), weight.values<Real>(),
                                             mean.values<Real>(), rstd.values<Real>());
          if (accumulate) grad.dx = plus(grad.dx, dx.values<Real>());
          grad.dweight = plus(grad.dweight, dweight.values<Real>());
          grad.dbias = with_bias ? plus(grad.dbias, dbias.values<Real>()) : dbias.values<Real>();
          return grad;
        };
        const auto exact = expected(double{});
        const auto naive = expected(float{});
        ops().layer_norm_backward(dy, x, weight, mean, rstd, accumulate, dx, dweight,
                                  with_bias ? dbias : Tensor{});
        if (size.width > 1) expect_close(dx, exact.dx, naive.dx, what + " dx");
        expect_close(dweight, exact.dweight, naive.dweight, what + " dweight");
        expect_close(dbias, exact.dbias, naive.dbias, what + " dbias");
      }
}

TEST_P(NormTest, RmsNorm) {
  Random random;
  for (const RowsAndWidth& size : norm_sizes())
    for (bool accumulate : {false, true}) {
      const std::string what = "rms_norm " + to_string(size);
      const Buffer x(device(), act(), shifted_rows(random, size, 0.5));
      const Buffer weight(device(), act(), near_one(random, size.width));
      const Buffer dy(device(), act(), random.normal({size.rows, size.width}));
      const Buffer y(device(), act(), x.tensor().shape), rstd(device(), DType::f32, Shape{size.rows});
      const Buffer dx(device(), act(), random.normal({size.rows, size.width}));
      const Buffer dweight(device(), DType::f32, random.normal({size.width}));

      ops().rms_norm_forward(x, weight, kEpsilon, y, rstd);
      const auto exact =
          reference::rms_norm_forward(x.values<double>(), weight.values<double>(), double(kEpsilon));
      const auto naive = reference::rms_norm_forward(x.values<float>(), weight.values<float>(), kEpsilon);
      expect_close(y, exact.y, naive.y, what);
      expect_close(rstd, exact.rstd, naive.rstd, what + " rstd");

      const auto expected = [&]<typename Real>(Real) {
        auto grad = reference::rms_norm_backward(dy.values<Real>(), x.values<Real>(), weight.values<Real>(),
                                                 rstd.values<Real>());
        if (accumulate) grad.dx = plus(grad.dx, dx.values<Real>());
        grad.dweight = plus(grad.dweight, dweight.values<Real>());
        return grad;
      };
      const auto exact_grad = expected(double{});
      const auto naive_grad = expected(float{});
      ops().rms_norm_backward(dy, x, weight, rstd, accumulate, dx, dweight);
      if (size.width > 1) expect_close(dx, exact_grad.dx, naive_grad.dx, what + " dx");
      expect_close(dweight, exact_grad.dweight, naive_grad.dweight, what + " dweight");
    }
}

TEST_P(NormTest, BackwardInPlace) {
  Random random;
  const RowsAndWidth size = {12, 77};
  const Buffer x(device(), act(), shifted_rows(random, size, 1)),
      weight(device(), act(), near_one(random, 77));
  const Buffer dy(device(), act(), random.normal({12, 77})), dx(device(), act(), Shape{12, 77});
  const Buffer y(device(), act(), Shape{12, 77});
  const Buffer mean(device(), DType::f32, Shape{12}), rstd(device(), DType::f32, Shape{12});
  const Buffer dweight(device(), DType::f32, Array<double>({77}));
  ops().layer_norm_forward(x, weight, {}, kEpsilon, y, mean, rstd);
  ops().layer_norm_backward(dy, x, weight, mean, rstd, false, dx, dweight, {});
  ops().layer_norm_backward(dy, x, weight, mean, rstd, false, dy, dweight, {});
  EXPECT_EQ(dy.bytes(), dx.bytes());
}

// One pass, the bits of two.
TEST_P(NormTest, ResidualNormIsItsTwoParts) {
  Random random;
  const std::uint32_t host_step = 6;
  const Scalar<std::uint32_t> step(device(), host_step);
  for (float probability : {0.0f, 0.2f})
    for (Shape shape : {Shape{1, 1, 1}, Shape{2, 3, 17}, Shape{3, 11, 768}, Shape{1, 2, 12288}, Shape{2, 1, 17000},
                        Shape{1, 3, 1001}, Shape{0, 2, 8}})
      for (bool rms : {false, true})
        for (bool with_bias : {true, false}) {
          const std::string what = "residual_norm_forward " + shape.to_string();
          const std::int64_t rows = shape[0] * shape[1], width = shape[2];
          const auto input = [&](Shape s) { return Buffer(device(), act(), random.normal(s)); };
          const Buffer x = input(shape), residual = input(shape), bias = input({width}), weight = input({width});
          const Buffer norm_bias = input({width});
          const Buffer out(device(), act(), shape), y(device(), act(), shape);
          const Buffer mean(device(), DType::f32, Shape{rows}), rstd(device(), DType::f32, Shape{rows});
          ResidualNorm fused;
          fused.x = x, fused.residual = residual, fused.out = out, fused.y = y;
          if (with_bias) fused.bias = bias;
          fused.dropout = {probability, 99, step.get(), 4};
          fused.norm_weight = weight;
          fused.rms = rms;
          if (!rms && with_bias) fused.norm_bias = norm_bias;
          if (!rms) fused.mean = mean;
          fused.rstd = rstd;

          const Buffer out2(device(), act(), shape), y2(device(), act(), shape);
          const Buffer mean2(device(), DType::f32, Shape{rows}), rstd2(device(), DType::f32, Shape{rows});
          ops().bias_dropout_residual(x, fused.bias, residual, fused.dropout, out2);
          const Shape flat = {rows, width};
          if (rms)
            ops().rms_norm_forward(out2.tensor().view(flat), weight, fused.epsilon, y2.tensor().view(flat), rstd2);
          else
            ops().layer_norm_forward(out2.tensor().view(flat), weight, fused.norm_bias, fused.epsilon,
                                     y2.tensor().view(flat), mean2, rstd2);

          ops().residual_norm_forward(fused);
          EXPECT_EQ(out.bytes(), out2.bytes()) << what;
          EXPECT_EQ(y.bytes(), y2.bytes()) << what;
          EXPECT_EQ(mean.bytes(), mean2.bytes()) << what;
          EXPECT_EQ(rstd.bytes(), rstd2.bytes()) << what;

          fused.out = with_bias ? residual : x;  // in place
          ops().residual_norm_forward(fused);
          EXPECT_EQ((with_bias ? residual : x).bytes(), out2.bytes()) << what;
          EXPECT_EQ(y.bytes(), y2.bytes()) << what;
        }
}

}  // namespace
}  // namespace heddle
