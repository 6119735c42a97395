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

// What a product needs beside its operands is there from the start, whatever its shape.
TEST_F(MatmulChoice, WorkspaceIsTheCommonOne) {
  const Buffer c(*device_, DType::f32, Shape{M, N});
  EXPECT_EQ(ops().matmul_workspace(product(c)), CudaOps::kScratchBytes);
}

}  // namespace
}  // namespace heddle
