#include <gtest/gtest.h>

#include "kernels/error.h"
#include "kernels/plan/plan_device.h"

namespace heddle {
namespace {

TEST(Plan, CountsMemory) {
  Memory survivor;
  {
    const auto device = make_plan_device();
    {
      const Memory large =
          device->allocate(std::size_t{1} << 40);  // more than any machine that runs the tests
      const Tensor view = Tensor(large.data(), DType::f32, {1 << 20, 1 << 18}).slice(0, 5, 9);
      EXPECT_TRUE(view);
      EXPECT_NE(view.data, large.data());
      EXPECT_EQ(device->memory().device_bytes, std::size_t{1} << 40);
    }
    survivor = device->allocate(1000);
    const Memory host = device->allocate_host(500);
    EXPECT_EQ(static_cast<char*>(host.data())[499], 0);
    EXPECT_EQ(device->memory().device_bytes, 1000u);
    EXPECT_EQ(device->memory().device_peak_bytes, std::size_t{1} << 40);
    EXPECT_EQ(device->memory().host_bytes, 500u);
    EXPECT_EQ(device->allocate(0).data(), nullptr);
  }
}

TEST(Plan, CopiesToTheHostAreZeros) {
  const auto device = make_plan_device();
  const Memory memory = device->allocate(64);
  float values[4] = {1, 2, 3, 4};
  device->copy_to_device(device->compute_stream(), Tensor(memory.data(), DType::f32, {4}), values);
  device->copy_to_host(device->compute_stream(), values, Tensor(memory.data(), DType::f32, {4}));
  for (float value : values) EXPECT_EQ(value, 0);
}

class PlanOpsTest : public testing::Test {
 protected:
  // A tensor that has an address and nothing behind it.
  Tensor tensor(DType dtype, Shape shape) { return Tensor(memory_.data(), dtype, shape); }
  Ops& ops() { return device_->ops(); }
  const PlanTotals& totals() { return device_->totals(); }

  std::unique_ptr<PlanDevice> device_ = make_plan_device();
  Memory memory_ = device_->allocate(1 << 20);
};

TEST_F(PlanOpsTest, Matmul) {
  Matmul m;
  m.a = tensor(DType::bf16, {64, 48});
  m.b = tensor(DType::bf16, {32, 48});
  m.transpose_b = true;
  m.c = tensor(DType::f32, {64, 32});
  m.accumulate = true;
  ops().matmul(m);
  EXPECT_EQ(totals().matmul.flops, 2 * 64 * 32 * 48);
  EXPECT_EQ(totals().matmul.bytes, 2 * (64 * 48 + 32 * 48) + 2 * 4 * 64 * 32);
  ops().bias_gradient(tensor(DType::bf16, {64, 32}), tensor(DType::f32, {32}));
  EXPECT_EQ(totals().matmul.calls, 2);
  m.b = tensor(DType::bf16, {32, 47});
  EXPECT_THROW(ops().matmul(m), Error);

  device_->reset_totals();
  Matmul weight_gradient;
  weight_gradient.a = tensor(DType::bf16, {48, 64});
  weight_gradient.b = tensor(DType::bf16, {48, 32});
  weight_gradient.c = tensor(DType::f32, {64, 32});
  weight_gradient.transpose_a = true;
  weight_gradient.b_sums = tensor(DType::f32, {32});
  ops().matmul(weight_gradient);
  EXPECT_EQ(totals().matmul.bytes, 2 * (48 * 64 + 48 * 32) + 4 * 64 * 32 + 2 * 4 * 32);
}

TEST_F(PlanOpsTest, Attention) {
  const std::int64_t B = 2, Tq = 3, Tk = 5, H = 4, D = 8;
  Attention a;
  a.q = a.o = tensor(DType::f32, {B, Tq, H, D});
  a.k = a.v = tensor(DType::f32, {B, Tk, 2, D});
  a.log_sum_exp = tensor(DType::f32, {B, H, Tq});
  ops().attention_forward(a);
  EXPECT_EQ(totals().attention.flops, 4 * B * H * D * Tq * Tk);
  device_->reset_totals();
  a.causal = true;  // queries see 3, 4 and 5 keys
  ops().attention_forward(a);
  EXPECT_EQ(totals().attention.flops, 4 * B * H * D * 12);
  device_->reset_totals();
  const std::int64_t scratch = ops().attention_backward_scratch(B, Tq, Tk, H, D);
  ops().attention_backward(a, {a.o, a.q, a.k, a.v, tensor(DType::f32, {scratch})});
  EXPECT_EQ(totals().attention.flops, 10 * B * H * D * 12);
}

TEST_F(PlanOpsTest, OthersCountBytes) {
  const Tensor x = tensor(DType::bf16, {10, 20}), weight = tensor(DType::bf16, {20});
  ops().activation_forward(Activation::relu, x, x);
  EXPECT_EQ(totals().activation.bytes, 2 * 2 * 200);
  ops().layer_norm_forward(x, weight, {}, 1e-5f, x, {}, {});
  EXPECT_EQ(totals().norm.bytes, 2 * 2 * 200 + 2 * 20);
  ResidualNorm fused;
  fused.x = fused.residual = fused.out = fused.y = tensor(DType::bf16, {2, 5, 20});
  fused.norm_weight = weight;
  ops().residual_norm_forward(fused);
  EXPECT_EQ(totals().norm.bytes, 2 * 2 * 200 + 2 * 20 + 4 * 2 * 200 + 2 * 20);
  ops().rope({tensor(DType::bf16, {2, 5, 2, 10}), tensor(DType::i32, {10}), 6});
  EXPECT_EQ(totals().rope.bytes, 2 * 2 * 10 * 2 * 6 + 4 * 10);
  ops().dropout(x, {}, x);
  EXPECT_EQ(totals().dropout.bytes, 2 * 2 * 200);
  ops().fill(x, 1);
  ops().copy(x, tensor(DType::f32, {10, 20}));
  EXPECT_EQ(totals().elementwise.bytes, 2 * 200 + (2 + 4) * 200);
  const Tensor flat = tensor(DType::f32, {100});
  ops().adamw({flat, flat, flat, flat, tensor(DType::bf16, {100})});
  ops().squared_norm(flat, {}, nullptr);
  EXPECT_EQ(totals().optimizer.bytes, (4 * 7 + 2) * 100 + 4 * 100);
  const GlobalPlace place{0, 100, 0, 0, 1};
  ops().round_stochastically({flat, tensor(DType::bf16, {100}), &place, 1});
  EXPECT_EQ(totals().optimizer.bytes, (4 * 7 + 2) * 100 + 4 * 100 + (4 + 2) * 100);
  EXPECT_EQ(totals().all().flops, 0);
  EXPECT_EQ(totals().all().calls, 10);
}

}  // namespace
}  // namespace heddle
