// The CPU's matrix products over more shapes than are remembered.

#include <gtest/gtest.h>

#include <vector>

#include "kernels/device.h"
#include "kernels/ops.h"

namespace heddle {
namespace {

TEST(CpuMatmulPlans, OfMoreShapesThanAreKeptAllAreRight) {
  const std::unique_ptr<Device> device = make_cpu_device(1);
  constexpr std::int64_t kN = 3, kK = 2, kMost = 2500;
  std::vector<float> a(kMost * kK), b(kK * kN), c(kMost * kN);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 7) - 3;
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i) - 2;
  const auto check = [&](std::int64_t M) {
    Matmul m;
    m.a = Tensor(a.data(), DType::f32, {M, kK});
    m.b = Tensor(b.data(), DType::f32, {kK, kN});
    m.c = Tensor(c.data(), DType::f32, {M, kN});
    device->ops().matmul(m);
    for (const std::int64_t row : {std::int64_t{0}, M / 2, M - 1})
      for (std::int64_t column = 0; column < kN; ++column) {
        float sum = 0;
        for (std::int64_t k = 0; k < kK; ++k)
          sum += a[static_cast<std::size_t>(row * kK + k)] * b[static_cast<std::size_t>(k * kN + column)];
        ASSERT_EQ(c[static_cast<std::size_t>(row * kN + column)], sum) << M << " rows";
      }
  };
  for (std::int64_t M = 1; M <= kMost; ++M) check(M);
  for (std::int64_t M : {std::int64_t{1}, std::int64_t{1000}, kMost}) check(M);  // forgotten ones and kept ones
}

}  // namespace
}  // namespace heddle
