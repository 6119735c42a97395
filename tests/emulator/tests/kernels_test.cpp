// Whole kernels that keep to the rules: right, and the same bits for every seed.
#include <algorithm>
#include <numeric>

#include "tests/emulator/tests/emulated.h"

namespace heddle::cuda {
namespace {

using emulator::for_seeds;

__global__ void add(const float* a, const float* b, float* sum, int n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < static_cast<unsigned>(n)) sum[i] = a[i] + b[i];
}

TEST(EmulatedKernel, VectorAdd) {
  for (int n : {1, 255, 256, 1000}) {
    std::vector<float> a(n), b(n), sum(n, -1.0f);
    for (int i = 0; i < n; ++i) a[i] = 0.5f * i, b[i] = 3.0f - i;
    run_now<&add>({blocks_for(n, 256), 256}, a.data(), b.data(), sum.data(), n);
    for (int i = 0; i < n; ++i) EXPECT_EQ(sum[i], a[i] + b[i]) << i;
  }
}

__global__ void record_indices(uint3* blocks, uint3* threads) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  if (block % 2 == 0) __syncthreads();  // indices also hold after waiting
  blocks[i] = blockIdx;
  threads[i] = threadIdx;
}

TEST(EmulatedKernel, IndicesOfThreeDimensions) {
  const dim3 grid(3, 4, 5), block(8, 2, 4);
  std::vector<uint3> blocks(60 * 64, uint3{99, 99, 99}), threads = blocks;
  run_now<&record_indices>({grid, block}, blocks.data(), threads.data());
  std::size_t i = 0;
  for (unsigned bz = 0; bz < 5; ++bz)
    for (unsigned by = 0; by < 4; ++by)
      for (unsigned bx = 0; bx < 3; ++bx)
        for (unsigned tz = 0; tz < 4; ++tz)
          for (unsigned ty = 0; ty < 2; ++ty)
            for (unsigned tx = 0; tx < 8; ++tx, ++i) {
              ASSERT_TRUE(blocks[i].x == bx && blocks[i].y == by && blocks[i].z == bz) << i;
              ASSERT_TRUE(threads[i].x == tx && threads[i].y == ty && threads[i].z == tz) << i;
            }
}

struct PartialSums {
  float of_warp[32];
};

// out[block] = sum of its row: shuffles, then shared memory.
__global__ void sum_rows(const float* in, float* out, int width) {
  PartialSums& shared = shared_memory<PartialSums>();
  float sum = 0.0f;
  for (int i = threadIdx.x; i < width; i += blockDim.x) sum += in[blockIdx.x * width + i];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(kFullWarp, sum, distance);
  if (threadIdx.x % 32 == 0) shared.of_warp[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = threadIdx.x < blockDim.x / 32 ? shared.of_warp[threadIdx.x] : 0.0f;
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(kFullWarp, sum, distance);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

TEST(EmulatedKernel, SumsAreTheSameBitsForEverySeed) {
  const int rows = 7, width = 1000;
  std::vector<float> in(rows * width);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = std::sin(0.37f * static_cast<float>(i));
  for (unsigned threads : {32u, 256u, 1024u}) {
    const auto results = for_seeds(5, [&] {
      std::vector<float> out(rows);
      run_now<&sum_rows>({rows, threads, sizeof(PartialSums)}, in.data(), out.data(), width);
      return out;
    });
    for (int row = 0; row < rows; ++row)
      EXPECT_NEAR(results[0][row], std::accumulate(&in[row * width], &in[row * width] + width, 0.0), 1e-4);
    for (const auto& result : results) EXPECT_EQ(result, results[0]);
  }
}

// Threads beyond n return at once; the others still get through their barriers.
__global__ void reverse(int* values, int n) {
  struct Values {
    int of[256];
  };
  Values& shared = shared_memory<Values>();
  const int i = threadIdx.x;
  if (i >= n) return;
  shared.of[i] = values[i];
  __syncthreads();
  values[i] = shared.of[n - 1 - i];
  __syncthreads();
}

TEST(EmulatedKernel, ReturnedThreadsCountAsArrived) {
  for (int n : {1, 31, 100, 256}) {
    std::vector<int> values(n), expected(n);
    std::iota(values.begin(), values.end(), 1);
    std::reverse_copy(values.begin(), values.end(), expected.begin());
    run_now<&reverse>({1, 256, 1024}, values.data(), n);
    EXPECT_EQ(values, expected);
  }
}

__global__ void count(unsigned* total, int* largest, unsigned long long* long_total, unsigned* bits,
                      unsigned* order) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(total, i);
  atomicMax(largest, static_cast<int>(i) - 100);
  atomicAdd(long_total, 1ull << 40);
  atomicOr(bits, 1u << blockIdx.x);
  unsigned seen = *bits;
  while (true) {  // toggles bit 31 as an even number of threads does
    const unsigned before = atomicCAS(bits, seen, seen ^ 0x80000000u);
    if (before == seen) break;
    seen = before;
  }
  if (threadIdx.x == 0) order[atomicAdd(&order[5], 1u)] = blockIdx.x;
}

TEST(EmulatedKernel, AtomicsAndBlockOrder) {
  const auto orders = for_seeds(8, [] {
    unsigned total = 0, bits = 0;
    int largest = -1000;
    unsigned long long long_total = 0;
    std::vector<unsigned> order(6);
    run_now<&count>({5, 64}, &total, &largest, &long_total, &bits, order.data());
    EXPECT_EQ(total, 319u * 320 / 2);
    EXPECT_EQ(largest, 219);
    EXPECT_EQ(long_total, 320ull << 40);
    EXPECT_EQ(bits, 31u);
    EXPECT_EQ(order.back(), 5u);
    return order;
  });
  EXPECT_TRUE(
      std::any_of(orders.begin(), orders.end(), [&](const auto& order) { return order != orders[0]; }));
}

__global__ void note_order(unsigned* order, unsigned* next) {
  if (threadIdx.x == 0) order[atomicAdd(next, 1u)] = blockIdx.x;
}

TEST(EmulatedKernel, SeedsRepeatTheirSequenceOfSchedules) {
  const auto two_orders = [](std::uint64_t seed) {
    emulator::set_seed(seed);
    EXPECT_EQ(emulator::seed(), seed);
    std::vector<std::vector<unsigned>> orders(2, std::vector<unsigned>(1000));
    for (auto& order : orders) {
      unsigned next = 0;
      run_now<&note_order>({1000, 32}, order.data(), &next);
    }
    return orders;
  };
  const auto orders = two_orders(17);
  EXPECT_EQ(two_orders(17), orders);
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(two_orders(18)[0], orders[0]);
  auto sorted = orders[0];
  std::sort(sorted.begin(), sorted.end());
  for (unsigned i = 0; i < 1000; ++i) EXPECT_EQ(sorted[i], i);
}

}  // namespace
}  // namespace heddle::cuda
