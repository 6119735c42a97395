// Barriers left out, and what a kernel then computes: every such mutant must be caught by some seed, and the
// kernel as it should be gives the same bits for all of them.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/emulator/tests/emulated.h"

namespace heddle::cuda {
namespace {

using emulator::for_seeds;

// For each of 8 seeds, whether run() gave what is expected.
template <typename Run, typename Expected>
std::vector<bool> right_for_seeds(Run run, const Expected& expected) {
  std::vector<bool> right;
  for (const auto& result : for_seeds(8, run)) right.push_back(result == expected);
  return right;
}
bool all(const std::vector<bool>& values) {
  return std::find(values.begin(), values.end(), false) == values.end();
}
// Mutants should not need luck.
bool mostly_wrong(const std::vector<bool>& right) {
  return std::count(right.begin(), right.end(), true) <= 2;
}

struct Tile {
  float of[32][33];
};

// out [columns, rows] = in [rows, columns] transposed, by tiles of 32 x 32 and blocks of 32 x 8 threads. Each
// block goes through a whole row of tiles, so that its second barrier matters as well.
template <bool AfterWriting, bool AfterReading>
__global__ void transpose(const float* in, float* out, int rows, int columns) {
  Tile& tile = shared_memory<Tile>();
  const int row0 = blockIdx.y * 32;
  for (int column0 = 0; column0 < columns; column0 += 32) {
#pragma unroll
    for (int i = threadIdx.y; i < 32; i += 8)
      tile.of[i][threadIdx.x] = in[(row0 + i) * columns + column0 + threadIdx.x];
    if (AfterWriting) __syncthreads();
    for (int i = threadIdx.y; i < 32; i += 8)
      out[(column0 + i) * rows + row0 + threadIdx.x] = tile.of[threadIdx.x][i];
    if (AfterReading) __syncthreads();
  }
}

template <bool AfterWriting, bool AfterReading>
std::vector<bool> transposes_right() {
  const int rows = 64, columns = 96;
  std::vector<float> in(rows * columns), expected(rows * columns);
  std::iota(in.begin(), in.end(), 1.0f);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) expected[c * rows + r] = in[r * columns + c];
  return right_for_seeds(
      [&] {
        std::vector<float> out(rows * columns);
        run_now<&transpose<AfterWriting, AfterReading>>({dim3(1, rows / 32), dim3(32, 8), sizeof(Tile)},
                                                        in.data(), out.data(), rows, columns);
        return out;
      },
      expected);
}

TEST(EmulatedBarrier, TranspositionNeedsBothBarriers) {
  EXPECT_TRUE(all((transposes_right<true, true>())));
  EXPECT_TRUE(mostly_wrong((transposes_right<false, true>())));
  EXPECT_TRUE(mostly_wrong((transposes_right<true, false>())));
}

// Rotates 32 values by one lane through shared memory, `steps` times.
template <bool AfterWriting, bool AfterReading>
__global__ void rotate(int* values, int steps) {
  struct Values {
    int of[32];
  };
  Values& shared = shared_memory<Values>();
  const int lane = threadIdx.x;
  int value = values[lane];
  for (int step = 0; step < steps; ++step) {
    shared.of[lane] = value;
    if (AfterWriting) __syncwarp();
    value = shared.of[(lane + 1) % 32];
    if (AfterReading) __syncwarp();
  }
  values[lane] = value;
}

template <bool AfterWriting, bool AfterReading>
std::vector<bool> rotates_right() {
  std::vector<int> start(32), expected(32);
  std::iota(start.begin(), start.end(), 0);
  std::rotate_copy(start.begin(), start.begin() + 5, start.end(), expected.begin());
  return right_for_seeds(
      [&] {
        std::vector<int> values = start;
        run_now<&rotate<AfterWriting, AfterReading>>({1, 32, 128}, values.data(), 5);
        return values;
      },
      expected);
}

TEST(EmulatedBarrier, LanesNeedSyncwarpOnBothSides) {
  EXPECT_TRUE(all((rotates_right<true, true>())));
  EXPECT_TRUE(mostly_wrong((rotates_right<false, true>())));
  EXPECT_TRUE(mostly_wrong((rotates_right<true, false>())));
}

// Thread i takes the value of thread scale * i + distance, where there is one.
template <bool Barrier>
__global__ void gather(const int* in, int* out, int scale, int distance) {
  struct Values {
    int of[128];
  };
  Values& shared = shared_memory<Values>();
  const int i = threadIdx.x, size = blockDim.x, source = scale * i + distance;
  shared.of[i] = in[i];
  if (Barrier) __syncthreads();
  out[i] = shared.of[source >= 0 && source < size ? source : i];
}

template <bool Barrier>
std::vector<bool> gathers_right(int threads, int scale, int distance) {
  std::vector<int> in(threads), expected(threads);
  std::iota(in.begin(), in.end(), 0);
  for (int i = 0; i < threads; ++i) {
    const int source = scale * i + distance;
    expected[i] = source >= 0 && source < threads ? source : i;
  }
  return right_for_seeds(
      [&] {
        std::vector<int> out(threads);
        run_now<&gather<Barrier>>({1, static_cast<unsigned>(threads), 512}, in.data(), out.data(), scale,
                                  distance);
        return out;
      },
      expected);
}

TEST(EmulatedBarrier, NoOrderOfLanesOrWarpsIsCertain) {
  struct Case {
    int threads, scale, distance;
  };
  for (const Case& c : {Case{32, 1, -1},
                        {32, 1, 1},
                        {32, 1, -16},
                        {32, 1, 16},
                        {32, 0, 0},
                        {32, 0, 31},
                        {128, 1, -32},
                        {128, 1, 32}}) {
    EXPECT_TRUE(all(gathers_right<true>(c.threads, c.scale, c.distance)));
    EXPECT_TRUE(mostly_wrong(gathers_right<false>(c.threads, c.scale, c.distance)))
        << "thread " << c.scale << " i + " << c.distance << " of " << c.threads;
  }
}

// Each warp reverses its values in a place of its own, or, as a mistake, all in the same.
template <bool OwnPlaces>
__global__ void reverse_in_warps(const int* in, int* out) {
  struct Places {
    int of_warp[4][32];
  };
  const int i = blockIdx.x * 128 + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int* place = shared_memory<Places>().of_warp[OwnPlaces ? warp : 0];
  for (int round = 0; round < 3; ++round) {
    place[lane] = in[i];
    __syncwarp();
    out[i] = place[31 - lane];
    __syncwarp();
  }
}

template <bool OwnPlaces>
std::vector<bool> reverses_right() {
  const int blocks = 10, count = blocks * 128;
  std::vector<int> in(count), expected(count);
  std::iota(in.begin(), in.end(), 0);
  for (int i = 0; i < count; ++i) expected[i] = i ^ 31;
  return right_for_seeds(
      [&] {
        std::vector<int> out(count);
        run_now<&reverse_in_warps<OwnPlaces>>({blocks, 128, 512}, in.data(), out.data());
        return out;
      },
      expected);
}

TEST(EmulatedBarrier, WarpsThatShareAPlaceByMistakeMeetThere) {
  EXPECT_TRUE(all(reverses_right<true>()));
  EXPECT_TRUE(mostly_wrong(reverses_right<false>()));
}

__global__ void note_warps(unsigned* order, unsigned* next) {
  for (int phase = 0; phase < 2; ++phase) {
    if (threadIdx.x % 32 == 0) order[atomicAdd(next, 1u)] = threadIdx.x / 32;
    __syncthreads();
  }
}

TEST(EmulatedBarrier, WarpsGoOnInAnotherOrder) {
  const auto repeated = for_seeds(8, [] {
    std::vector<unsigned> order(16);
    unsigned next = 0;
    run_now<&note_warps>({1, 256}, order.data(), &next);
    return std::equal(order.begin(), order.begin() + 8, order.begin() + 8);
  });
  EXPECT_LE(std::count(repeated.begin(), repeated.end(), true), 1);
}

// Lanes write a row of shared memory each, and a fragment is loaded from them.
template <bool AfterWriting>
__global__ void load_fragment(std::uint32_t* out) {
  struct Rows {
    std::uint32_t of[32][4];
  };
  Rows& shared = shared_memory<Rows>();
  const int lane = threadIdx.x;
  for (int i = 0; i < 4; ++i) shared.of[lane][i] = static_cast<std::uint32_t>(4 * lane + i);
  if (AfterWriting) __syncwarp();
  std::uint32_t r[4];
  load_matrix_x4(r, &shared.of[31 - lane][0]);
  for (int i = 0; i < 4; ++i) out[i * 32 + lane] = r[i];
}

template <bool AfterWriting>
std::vector<bool> fragments_right() {
  std::vector<std::uint32_t> expected(128);
  for (int i = 0; i < 4; ++i)
    for (int lane = 0; lane < 32; ++lane) expected[i * 32 + lane] = 4 * (31 - (8 * i + lane / 4)) + lane % 4;
  return right_for_seeds(
      [] {
        std::vector<std::uint32_t> out(128);
        run_now<&load_fragment<AfterWriting>>({1, 32, 512}, out.data());
        return out;
      },
      expected);
}

TEST(EmulatedBarrier, LoadMatrixNeedsSyncwarp) {
  EXPECT_TRUE(all(fragments_right<true>()));
  EXPECT_TRUE(mostly_wrong(fragments_right<false>()));
}

__global__ void votes(int* out, int threshold) {
  const int i = threadIdx.x;
  if (i >= 96) return;  // no part in the votes below
  out[3 * i] = __syncthreads_count(i < threshold);
  out[3 * i + 1] = __syncthreads_or(i < threshold);
  out[3 * i + 2] = __syncthreads_and(i < threshold);
}

TEST(EmulatedBarrier, Votes) {
  for (int threshold : {0, 1, 50, 96}) {
    std::vector<int> out(3 * 96), expected(3 * 96);
    for (int i = 0; i < 96; ++i) {
      expected[3 * i] = threshold;
      expected[3 * i + 1] = threshold > 0;
      expected[3 * i + 2] = threshold == 96;
    }
    run_now<&votes>({1, 128}, out.data(), threshold);
    EXPECT_EQ(out, expected) << threshold;
  }
}

__global__ void read_shared(float* out, bool* zeroed_bf16) {
  struct Values {
    float of[64];
    bfloat16 halves[64];
  };
  Values& shared = shared_memory<Values>();
  out[blockIdx.x * 64 + threadIdx.x] = shared.of[threadIdx.x];
  if (!std::isnan(static_cast<float>(shared.halves[threadIdx.x]))) *zeroed_bf16 = true;
  shared.of[threadIdx.x] = 0.0f;  // for the next block to find, if nobody cleans up
}

TEST(EmulatedBarrier, SharedMemoryStartsAsNaNInEveryBlock) {
  std::vector<float> out(3 * 64);
  bool bf16_is_number = false;
  run_now<&read_shared>({3, 64, 64 * 6}, out.data(), &bf16_is_number);
  for (float x : out) EXPECT_TRUE(std::isnan(x));
  EXPECT_FALSE(bf16_is_number);
}

}  // namespace
}  // namespace heddle::cuda
