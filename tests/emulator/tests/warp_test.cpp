// Warp functions and arithmetic of the device.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/emulator/tests/emulated.h"

namespace heddle::cuda {
namespace {

// Runs `body(lane)` on each lane of a warp and returns what the lanes give.
template <typename T, T (*body)(int lane)>
__global__ void each_lane(T* out) {
  out[threadIdx.x] = body(static_cast<int>(threadIdx.x));
}
template <auto body>
auto of_lanes() {
  using T = decltype(body(0));
  return emulator::for_seeds(3, [] {
    std::vector<T> out(32);
    run_now<&each_lane<T, body>>({1, 32}, out.data());
    return out;
  });
}
template <auto body, typename Expected>
void expect_lanes(Expected expected) {
  for (const auto& out : of_lanes<body>())
    for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(out[lane], expected(lane)) << "lane " << lane;
}

__device__ int rotated(int lane) {
  return __shfl_sync(kFullWarp, 10 * lane, lane + 5);
}
__device__ float broadcast_by_eights(int lane) {
  return __shfl_sync(kFullWarp, 0.5f * lane, 3, 8);
}
__device__ int up(int lane) {
  return __shfl_up_sync(kFullWarp, lane, 3);
}
__device__ int up_by_eights(int lane) {
  return __shfl_up_sync(kFullWarp, lane, 3, 8);
}
__device__ int down(int lane) {
  return __shfl_down_sync(kFullWarp, lane, 3);
}
__device__ int down_by_eights(int lane) {
  return __shfl_down_sync(kFullWarp, lane, 3, 8);
}
__device__ double crossed(int lane) {
  return __shfl_xor_sync(kFullWarp, 1.0 + lane, 21);
}
__device__ int crossed_by_eights(int lane) {
  return __shfl_xor_sync(kFullWarp, lane, 12, 8);
}
__device__ unsigned long long long_value(int lane) {
  return __shfl_sync(kFullWarp, (1ull << 40) + lane, 31 - lane);
}

TEST(EmulatedWarp, Shuffles) {
  expect_lanes<&rotated>([](int lane) { return 10 * ((lane + 5) % 32); });
  expect_lanes<&broadcast_by_eights>([](int lane) { return 0.5f * (lane / 8 * 8 + 3); });
  expect_lanes<&up>([](int lane) { return lane < 3 ? lane : lane - 3; });
  expect_lanes<&up_by_eights>([](int lane) { return lane % 8 < 3 ? lane : lane - 3; });
  expect_lanes<&down>([](int lane) { return lane > 28 ? lane : lane + 3; });
  expect_lanes<&down_by_eights>([](int lane) { return lane % 8 > 4 ? lane : lane + 3; });
  expect_lanes<&crossed>([](int lane) { return 1.0 + (lane ^ 21); });
  // Earlier segments may be read, later ones may not.
  expect_lanes<&crossed_by_eights>([](int lane) { return (lane ^ 12) / 8 > lane / 8 ? lane : lane ^ 12; });
  expect_lanes<&long_value>([](int lane) { return (1ull << 40) + (31 - lane); });
}

__device__ unsigned odd_lanes(int lane) {
  return __ballot_sync(kFullWarp, lane % 2);
}
__device__ int any_above(int lane) {
  return __any_sync(kFullWarp, lane > 30) * 2 + __any_sync(kFullWarp, lane > 31);
}
__device__ int all_below(int lane) {
  return __all_sync(kFullWarp, lane < 32) * 2 + __all_sync(kFullWarp, lane < 31);
}

TEST(EmulatedWarp, Votes) {
  expect_lanes<&odd_lanes>([](int) { return 0xaaaaaaaau; });
  expect_lanes<&any_above>([](int) { return 2; });
  expect_lanes<&all_below>([](int) { return 2; });
}

// Every lane's values of several rounds in a row: a lane that goes on early must not disturb the others'
// round.
__device__ int running_sum(int lane) {
  int sum = lane;
  for (int distance = 1; distance < 32; distance *= 2) {
    const int below = __shfl_up_sync(kFullWarp, sum, distance);
    if (lane >= distance) sum += below;
  }
  return sum;
}

TEST(EmulatedWarp, RoundsFollowEachOther) {
  expect_lanes<&running_sum>([](int lane) { return lane * (lane + 1) / 2; });
}

TEST(EmulatedMath, Integers) {
  EXPECT_EQ(__umulhi(0xffffffffu, 0xffffffffu), 0xfffffffeu);
  EXPECT_EQ(__mulhi(-5, 1 << 30), -2);
  EXPECT_EQ(__umul64hi(~0ull, ~0ull), ~0ull - 1);
  EXPECT_EQ(__mul64hi(-1, 1), -1);
  EXPECT_EQ(__popc(0xf0f0u), 8);
  EXPECT_EQ(__clz(0), 32);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffs(0x80), 8);
  EXPECT_EQ(max(3, -4), 3);
  EXPECT_EQ(min(3u, 4u), 3u);
}

TEST(EmulatedMath, Floats) {
  EXPECT_EQ(__float_as_uint(1.0f), 0x3f800000u);
  EXPECT_EQ(__uint_as_float(0xbf800000u), -1.0f);
  EXPECT_EQ(__float_as_int(-0.0f), std::numeric_limits<int>::min());
  EXPECT_EQ(rsqrtf(4.0f), 0.5f);
  EXPECT_FLOAT_EQ(__expf(1.0f), 2.7182818f);
  EXPECT_FLOAT_EQ(__logf(10.0f), 2.3025851f);
  EXPECT_EQ(__fdividef(1.0f, 8.0f), 0.125f);
  EXPECT_EQ(max(NAN, 2.0f), 2.0f);
  EXPECT_EQ(min(1.0f, 2.0f), 1.0f);
  // Not one fused operation: the product's low bits are lost.
  volatile float x = 1.0f + 0x1p-12f;
  EXPECT_EQ(__fadd_rn(__fmul_rn(x, x), -1.0f), 0x1p-11f);
  EXPECT_EQ(__fmaf_rn(x, x, -1.0f), 0x1p-11f + 0x1p-24f);
}

TEST(EmulatedMath, Exp2FlushesDenormals) {
  EXPECT_EQ(exp2_approx(0.0f), 1.0f);
  EXPECT_EQ(exp2_approx(-3.0f), 0.125f);
  EXPECT_EQ(exp2_approx(-126.0f), 0x1p-126f);
  EXPECT_EQ(exp2_approx(-127.0f), 0.0f);
  EXPECT_EQ(exp2_approx(-INFINITY), 0.0f);
  EXPECT_EQ(exp2_approx(128.0f), INFINITY);
  EXPECT_TRUE(std::isnan(exp2_approx(NAN)));
}

}  // namespace
}  // namespace heddle::cuda
