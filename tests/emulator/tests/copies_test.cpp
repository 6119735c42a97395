// Asynchronous copies: arriving late, arriving early, and forgotten.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/emulator/tests/emulated.h"

namespace heddle::cuda {
namespace {

using emulator::fault_of;
using emulator::for_seeds;

struct Stages {
  float of[2][32][4];
};

// out = sum over tiles of in [tiles, 32, 4], by a pipeline of two stages; each lane reads what its neighbour
// copied. Pending: groups that may be on their way when a tile is read; 1 is right. Barriers: after waiting,
// after reading.
template <int Pending, bool AfterWaiting, bool AfterReading>
__global__ void sum_tiles(const float* in, float* out, int tiles) {
  Stages& stages = shared_memory<Stages>();
  const int lane = threadIdx.x;
  const auto fetch = [&](int tile) {
    if (tile < tiles) copy_async_16(stages.of[tile % 2][lane], in + (tile * 32 + lane) * 4);
    commit_copies();  // also when empty: then the groups' count stays in step with the tiles'
  };
  float sum = 0.0f;
  fetch(0);
  for (int tile = 0; tile < tiles; ++tile) {
    fetch(tile + 1);
    wait_copies<Pending>();
    if (AfterWaiting) __syncwarp();
    for (int i = 0; i < 4; ++i) sum += stages.of[tile % 2][(lane + 1) % 32][i];
    if (AfterReading) __syncwarp();
  }
  out[lane] = sum;
  wait_copies<0>();
}

template <int Pending, bool AfterWaiting, bool AfterReading>
int right_sums() {
  const int tiles = 5, seeds = 12;
  std::vector<float> in(tiles * 128), expected(32);
  std::iota(in.begin(), in.end(), 1.0f);
  for (std::size_t i = 0; i < in.size(); ++i) expected[(i / 4 + 31) % 32] += in[i];
  const auto results = for_seeds(seeds, [&] {
    std::vector<float> out(32);
    run_now<&sum_tiles<Pending, AfterWaiting, AfterReading>>({1, 32, sizeof(Stages)}, in.data(),
                                                            out.data(), tiles);
    return out;
  });
  return static_cast<int>(std::count(results.begin(), results.end(), expected));
}

TEST(EmulatedCopies, PipelineNeedsItsWaitsAndBarriers) {
  EXPECT_EQ((right_sums<1, true, true>()), 12);
  EXPECT_EQ((right_sums<0, true, true>()), 12) << "waiting for more than needed is slow but right";
  EXPECT_LE((right_sums<2, true, true>()), 2) << "waits for the tile before";
  EXPECT_LE((right_sums<1, false, true>()), 2);
  EXPECT_LE((right_sums<1, true, false>()), 2);
}

__global__ void copy_parts(const float* in, float* out, int bytes) {
  Stages& stages = shared_memory<Stages>();
  float* row = stages.of[0][threadIdx.x];
  copy_async_16(row, in, bytes);
  float& single = stages.of[1][threadIdx.x][1];
  copy_async_4(&single, in + 1, bytes >= 8 ? 4 : 0);
  commit_copies();
  wait_copies<0>();
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 5 + i] = row[i];
  out[threadIdx.x * 5 + 4] = single;
}

TEST(EmulatedCopies, BytesThatAreNotCopiedBecomeZero) {
  alignas(16) const float in[4] = {1, 2, 3, 4};
  for (int bytes : {0, 4, 8, 16}) {
    std::vector<float> out(32 * 5, -1.0f);
    run_now<&copy_parts>({1, 32, sizeof(Stages)}, static_cast<const float*>(in), out.data(), bytes);
    for (int i = 0; i < 32 * 5; ++i) {
      const float expected = i % 5 == 4 ? (bytes >= 8 ? 2.0f : 0.0f) : (i % 5 * 4 < bytes ? in[i % 5] : 0.0f);
      EXPECT_EQ(out[i], expected) << bytes << " " << i;
    }
  }
}

// How many lanes see their copy at once, some time before the wait, and after it.
__global__ void watch(const float* in, unsigned* at_once, unsigned* before, unsigned* after) {
  volatile float& mine = shared_memory<Stages>().of[0][threadIdx.x][0];
  mine = 0.0f;
  copy_async_16(shared_memory<Stages>().of[0][threadIdx.x], in);
  if (!std::isnan(mine)) atomicAdd(at_once, 1u);
  commit_copies();
  for (int i = 0; i < 3; ++i) __syncwarp();
  if (!std::isnan(mine)) atomicAdd(before, 1u);
  wait_copies<0>();
  if (mine == in[0]) atomicAdd(after, 1u);
}

TEST(EmulatedCopies, ArriveAnyTimeBeforeTheWait) {
  alignas(16) const float in[4] = {1, 2, 3, 4};
  unsigned at_once = 0, before = 0, after = 0;
  const LaunchShape shape{10, 32, sizeof(Stages)};
  run_now<&watch>(shape, static_cast<const float*>(in), &at_once, &before, &after);
  EXPECT_EQ(at_once, 0u);
  EXPECT_GT(before, 32u);
  EXPECT_LT(before, 320u - 32u);
  EXPECT_EQ(after, 320u);
}

// What is missing: 0 nothing, 1 the wait, 2 the commit.
__global__ void forget(const float* in, int what) {
  copy_async_16(shared_memory<Stages>().of[0][threadIdx.x], in);
  if (threadIdx.x == 7 && what == 1) return;
  if (threadIdx.x != 7 || what != 2) commit_copies();
  wait_copies<0>();
}

TEST(EmulatedCopies, MustBeWaitedFor) {
  alignas(16) const float in[4] = {};
  const auto run = [&](int what) {
    run_now<&forget>({1, 32, sizeof(Stages)}, static_cast<const float*>(in), what);
  };
  run(0);
  for (int what : {1, 2}) {
    const std::string text = fault_of([&] { run(what); });
    EXPECT_CONTAINS(
        text, "lane 7 of warp 0 (thread 7) has returned without waiting for 1 of its asynchronous copies");
    EXPECT_CONTAINS(text, "(copies_test.cpp:");
  }
  run(0);  // nothing of the fault is left
}

__global__ void copy_between(const float* in, int from, int to, int bytes) {
  auto* shared = reinterpret_cast<unsigned char*>(&shared_memory<Stages>());
  copy_async_16(shared + to, reinterpret_cast<const unsigned char*>(in) + from, bytes);
  commit_copies();
  wait_copies<0>();
}
__global__ void copy_within_shared() {
  Stages& stages = shared_memory<Stages>();
  copy_async_16(stages.of[0][0], stages.of[1][0]);
}

TEST(EmulatedCopies, AddressesAreChecked) {
  alignas(16) const float in[8] = {};
  const auto fault = [&](int from, int to, int bytes = 16) {
    return fault_of([&] {
      run_now<&copy_between>({1, 32, sizeof(Stages)}, static_cast<const float*>(in), from, to, bytes);
    });
  };
  EXPECT_CONTAINS(fault(4, 0), "address in global memory is not aligned to 16 bytes");
  EXPECT_CONTAINS(fault(0, 8), "offset 8 in shared memory is not aligned to 16 bytes");
  EXPECT_CONTAINS(fault(0, sizeof(Stages)), "do not lie in the block's 1024 bytes");
  EXPECT_CONTAINS(fault(0, 0, 17), "17 bytes of 16");
  EXPECT_CONTAINS(fault_of([] {
                    run_now<&copy_within_shared>({1, 32, sizeof(Stages)});
                  }),
                  "source lies in shared memory");
}

}  // namespace
}  // namespace heddle::cuda
