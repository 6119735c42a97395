#include "kernels/cpu/ceiling.h"

#include <gtest/gtest.h>

namespace heddle {
namespace {

TEST(MatmulCeiling, IsARate) {
  for (DType dtype : {DType::f32, DType::bf16}) EXPECT_GT(measure_matmul_flops(dtype, 1, 0), 1e7);
}

TEST(CopyCeiling, IsARate) {
  EXPECT_GT(measure_copy_bandwidth(2, 0), 1e8);
}

}  // namespace
}  // namespace heddle
