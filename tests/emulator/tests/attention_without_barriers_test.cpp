// A mutant of the forward attention kernel: its barriers are missing.
#include "tests/emulator/tests/attention_problem.h"

namespace heddle::without_barriers {
using namespace cuda;
}

#define cuda without_barriers
#define __syncthreads() static_cast<void>(0)
#include "kernels/cuda/attention_forward.h"
#undef __syncthreads
#undef cuda

namespace heddle::emulator {
namespace {

TEST(AttentionKernel, NeedsItsBarriers) {
  using namespace without_barriers;
  const int wrong = AttentionProblem()
                        .count_wrong<&attention_forward_kernel<bfloat16, 64>, ForwardArguments<bfloat16>,
                                     ForwardTiles<bfloat16, 64>>(5);
  EXPECT_EQ(wrong, 5);
}

}  // namespace
}  // namespace heddle::emulator
