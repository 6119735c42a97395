// A mutant of the forward attention kernel: it waits for one group of copies less than it must.
#include "tests/emulator/tests/attention_problem.h"

namespace heddle::without_waits {
using namespace cuda;

template <int kPending>
void wait_for_fewer() {
  wait_copies<kPending + 1>();
}
}  // namespace heddle::without_waits

#define cuda without_waits
#define wait_copies wait_for_fewer
#include "kernels/cuda/attention_forward.h"
#undef wait_copies
#undef cuda

namespace heddle::emulator {
namespace {

TEST(AttentionKernel, NeedsItsWaits) {
  using namespace without_waits;
  const int wrong = AttentionProblem()
                        .count_wrong<&attention_forward_kernel<bfloat16, 64>, ForwardArguments<bfloat16>,
                                     ForwardTiles<bfloat16, 64>>(5);
  EXPECT_EQ(wrong, 5);
}

}  // namespace
}  // namespace heddle::emulator
