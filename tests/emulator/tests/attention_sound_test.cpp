// The forward attention kernel as it is: right under every schedule. Its mutants beside it are not.
#include "kernels/cuda/attention_forward.h"
#include "tests/emulator/tests/attention_problem.h"

namespace heddle::emulator {
namespace {

TEST(AttentionKernel, IsRightInEveryOrder) {
  const int wrong = AttentionProblem()
                        .count_wrong<&cuda::attention_forward_kernel<bfloat16, 64>,
                                     cuda::ForwardArguments<bfloat16>, cuda::ForwardTiles<bfloat16, 64>>(5);
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace heddle::emulator
