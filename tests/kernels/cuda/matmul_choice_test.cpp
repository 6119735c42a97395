// How CUDA's matmul chooses cuBLASLt's algorithms: what every other test sees is the default.
#include <cmath>

#include "kernels/cuda/device.h"
#include "kernels/reference/activation.h"
#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;

// Small whole numbers, whose sums of products no order of addition rounds.
Array<double> whole_numbers(Shape shape, int modulus) {
  Array<double> x(shape);
  for (std::int64_t i = 0; i < x.count(); ++i) x.values[i] = static_cast<double>(i % modulus - modulus / 2);
  return x;
}

class MatmulChoice : public testing::Test {
 protected:
  static constexpr std::int64_t M = 40, N = 48, K = 64;

  MatmulChoice() { ops().set_autotune(true); }
  CudaOps& ops() { return dynamic_cast<CudaOps&>(device_->ops()); }

  Matmul product(const Buffer& c) const {
    Matmul m;
    m.a = a_;
    m.b = b_;
    m.c = c;
    return m;
  }

  // `before` plus `times` the product.
  Array<double> expected(double before, double times) const {
    Array<double> c({M, N}, before);
    const Array<double> a = a_.values<double>(), b = b_.values<double>();
    for (std::int64_t m = 0; m < M; ++m)
      for (std::int64_t n = 0; n < N; ++n)
        for (std::int64_t k = 0; k < K; ++k) c(m, n) += times * a(m, k) * b(k, n);
    return c;
  }

  std::unique_ptr<Device> device_ = all_backends().front().make();
  const Buffer a_{*device_, DType::bf16, whole_numbers({M, K}, 5)};
  const Buffer b_{*device_, DType::bf16, whole_numbers({K, N}, 7)};
};

TEST_F(MatmulChoice, TimingLeavesTheProduct) {
  const Buffer c(*device_, DType::f32, Shape{M, N});
  ops().matmul(product(c));
  EXPECT_EQ(c.values<double>().values, expected(0, 1).values);
  ops().matmul(product(c));
  EXPECT_EQ(c.values<double>().values, expected(0, 1).values);
}

TEST_F(MatmulChoice, TimingAddsNothingToAnAccumulatedProduct) {
  const Buffer c(*device_, DType::f32, Array<double>({M, N}, 3));
  Matmul m = product(c);
  m.accumulate = true;
  ops().matmul(m);
  EXPECT_EQ(c.values<double>().values, expected(3, 1).values);
  ops().matmul(m);
  EXPECT_EQ(c.values<double>().values, expected(3, 2).values);
}

TEST_F(MatmulChoice, AShapeFirstSeenInACaptureIsNotTimed) {
  const Buffer c(*device_, DType::f32, Array<double>({M, N}, 3));
  Matmul m = product(c);
  m.accumulate = true;
  const auto graph = device_->capture([&] { ops().matmul(m); });
  for (int launches : {1, 2}) {
    graph->launch(device_->compute_stream());
    EXPECT_EQ(c.values<double>().values, expected(3, launches).values);
  }
}

// From Hopper on, GELU is cuBLASLt's: one piece of work less, the same kept values, and the activation of
// them to within their rounding.
TEST_F(MatmulChoice, GeluIsFusedOnHopper) {
  const Buffer bias(*device_, DType::bf16, whole_numbers({N}, 3));
  const cudaStream_t stream = dynamic_cast<CudaStream&>(device_->compute_stream()).handle();
  const auto run = [&](int compute_capability, const Buffer& c, const Buffer& pre_activation) {
    CudaOps ops(stream, {.compute_capability = compute_capability},
                device_->allocate(CudaOps::kScratchBytes));
    Matmul m = product(c);
    m.bias = bias;
    m.activation = Activation::gelu_tanh;
    m.pre_activation = pre_activation;
    const auto graph = device_->capture([&] { ops.matmul(m); });
    graph->launch(device_->compute_stream());
    device_->compute_stream().synchronize();
    return graph->node_count();
  };
  const Buffer fused(*device_, DType::bf16, Shape{M, N}), fused_before(*device_, DType::bf16, Shape{M, N});
  const Buffer separate(*device_, DType::bf16, Shape{M, N}),
      separate_before(*device_, DType::bf16, Shape{M, N});
  EXPECT_LT(run(90, fused, fused_before), run(80, separate, separate_before));
  EXPECT_EQ(fused_before.bytes(), separate_before.bytes());
  const Array<double> before = fused_before.values<double>(), after = fused.values<double>();
  for (std::int64_t i = 0; i < after.count(); ++i) {
    const double exact = reference::activate(Activation::gelu_tanh, before.values[i]);
    EXPECT_NEAR(after.values[i], exact, 0x1p-7 * std::abs(exact) + 1e-3) << before.values[i];
  }
}

// A weight gradient of many rows with the bias gradient; a backward of GELU.
class BackwardChoice : public MatmulChoice {
 protected:
  static constexpr std::int64_t kRows = 4096, kIn = 40, kOut = 48;

  Matmul weight_gradient(const Buffer& dweight, const Buffer& dbias, bool of_a) const {
    Matmul m;
    m.a = of_a ? dy_ : x_;
    m.b = of_a ? x_ : dy_;
    m.c = dweight;
    m.transpose_a = m.accumulate = true;
    (of_a ? m.a_sums : m.b_sums) = dbias;
    return m;
  }

  // Pieces of work that a call queues.
  std::size_t nodes(Matmul m, Passes passes) {
    m.passes = passes;
    return device_->capture([&] { ops().matmul(m); })->node_count();
  }

  const Buffer x_{*device_, DType::bf16, whole_numbers({kRows, kIn}, 5)};
  const Buffer dy_{*device_, DType::bf16, whole_numbers({kRows, kOut}, 3)};
};

TEST_F(BackwardChoice, OnePassIsCublasLts) {
  for (bool of_a : {false, true}) {
    const Buffer dweight(*device_, DType::f32, Array<double>(of_a ? Shape{kOut, kIn} : Shape{kIn, kOut}, 3));
    const Buffer dbias(*device_, DType::f32, Array<double>({kOut}, 2));
    const Matmul m = weight_gradient(dweight, dbias, of_a);
    EXPECT_LT(nodes(m, Passes::one), nodes(m, Passes::apart));
    EXPECT_EQ(nodes(m, Passes::automatic), nodes(m, Passes::apart)) << "not timed in a capture";
  }
  const Buffer before(*device_, DType::bf16, Shape{M, N}), dx(*device_, DType::bf16, Shape{M, N});
  Matmul m = product(dx);
  m.activation_backward = true;
  m.activation = Activation::gelu_tanh;
  m.pre_activation = before;
  EXPECT_LT(nodes(m, Passes::one), nodes(m, Passes::apart));
  m.activation = Activation::gelu_erf;  // which cuBLASLt has not
  EXPECT_EQ(nodes(m, Passes::one), nodes(m, Passes::apart));
}

// Whichever wins, timing adds to nothing, and the same is chosen again, in a capture too.
TEST_F(BackwardChoice, TimingAddsNothing) {
  for (bool of_a : {false, true}) {
    const Array<double> x = x_.values<double>(), dy = dy_.values<double>();
    Array<double> weight(of_a ? Shape{kOut, kIn} : Shape{kIn, kOut}), bias({kOut});
    for (std::int64_t row = 0; row < kRows; ++row)
      for (std::int64_t out = 0; out < kOut; ++out) {
        bias(out) += dy(row, out);
        for (std::int64_t in = 0; in < kIn; ++in)
          (of_a ? weight(out, in) : weight(in, out)) += x(row, in) * dy(row, out);
      }
    const Buffer dweight(*device_, DType::f32, Array<double>(weight.shape, 3));
    const Buffer dbias(*device_, DType::f32, Array<double>({kOut}, 2));
    const Matmul m = weight_gradient(dweight, dbias, of_a);
    const auto expect = [&](double times) {
      const Array<double> weights = dweight.values<double>(), biases = dbias.values<double>();
      for (std::int64_t i = 0; i < weights.count(); ++i)
        ASSERT_EQ(weights.values[i], 3 + times * weight.values[i]) << i << " after " << times;
      for (std::int64_t i = 0; i < kOut; ++i)
        ASSERT_EQ(biases(i), 2 + times * bias(i)) << i << " after " << times;
    };
    ops().matmul(m);
    expect(1);
    ops().matmul(m);
    expect(2);
    const auto graph = device_->capture([&] { ops().matmul(m); });
    graph->launch(device_->compute_stream());
    expect(3);
  }
}

TEST_F(BackwardChoice, TimingLeavesTheActivationsBackward) {
  const Buffer before(*device_, DType::bf16, whole_numbers({M, N}, 9)),
      dx(*device_, DType::bf16, Shape{M, N});
  Matmul m = product(dx);
  m.activation_backward = true;
  m.activation = Activation::gelu_tanh;
  m.pre_activation = before;
  const Array<double> product = expected(0, 1);
  for (int call : {1, 2}) {
    ops().matmul(m);
    const Array<double> actual = dx.values<double>();
    for (std::int64_t i = 0; i < actual.count(); ++i) {
      const double exact = product.values[i] * reference::activation_derivative(
                                                   Activation::gelu_tanh, before.values<double>().values[i]);
      ASSERT_NEAR(actual.values[i], exact, 0x1p-7 * std::abs(exact) + 1e-3) << i << " call " << call;
    }
  }
}

// What a product needs beside its operands is there from the start, whatever its shape.
TEST_F(MatmulChoice, WorkspaceIsTheCommonOne) {
  const Buffer c(*device_, DType::f32, Shape{M, N});
  EXPECT_EQ(ops().matmul_workspace(product(c)), CudaOps::kScratchBytes);
}

}  // namespace
}  // namespace heddle
