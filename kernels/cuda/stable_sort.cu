#include <utility>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/stable_sort.h"

namespace heddle::cuda {

namespace {

// One pass sorts by one digit of the keys:
//   count    how often each digit occurs in each tile of the input
//   scan     counters become the places where each tile's pairs with each digit begin
//   scatter  pairs go to their places
// A warp takes a consecutive part of the tile 32 pairs at a time, so that the place of a pair among those
// with the same digit is known from the warps before it, the rounds before this one, and the lanes before its
// own.
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;
constexpr int kRounds = 8;
constexpr int kWarpPairs = kRounds * kWarpSize;
constexpr int kTilePairs = kWarps * kWarpPairs;
constexpr int kScanThreads = 1024;
static_assert(kDigits == kThreads, "a thread looks after a digit");

std::int64_t tiles_of(std::int64_t count) {
  return (count + kTilePairs - 1) / kTilePairs;
}

struct DigitCounters {
  std::int32_t counts[kWarps][kDigits];
};

// The lanes of the warp whose digit is the same. All lanes call it; those without a pair have the digit
// kDigits, which is one bit longer than any.
__device__ __forceinline__ unsigned lanes_with(int digit) {
  unsigned lanes = kFullWarp;
#pragma unroll
  for (int bit = 0; bit <= kDigitBits; ++bit) {
    const bool set = digit >> bit & 1;
    const unsigned with_bit = __ballot_sync(kFullWarp, set);
    lanes &= set ? with_bit : ~with_bit;
  }
  return lanes;
}

struct Part {
  std::int64_t begin;  // of this warp's pairs
  std::int64_t count;  // of all pairs

  __device__ static Part of_warp(std::int64_t count) {
    return {static_cast<std::int64_t>(blockIdx.x) * kTilePairs + threadIdx.x / kWarpSize * kWarpPairs, count};
  }
};

// visit(pair, digit, place, last): `place` counts the pairs of the warp's part with the same digit before
// this one, starting from what `counts` holds; counts go on by those seen.
template <typename Visit>
__device__ __forceinline__ void for_each_pair(const Part& part, const std::uint32_t* keys, int shift,
                                              std::int32_t* counts, Visit visit) {
  const unsigned lane = threadIdx.x % kWarpSize;
  for (int round = 0; round < kRounds; ++round) {
    const std::int64_t pair = part.begin + round * kWarpSize + lane;
    const bool exists = pair < part.count;
    const int digit = exists ? static_cast<int>(keys[pair] >> shift) & (kDigits - 1) : kDigits;
    const unsigned same = lanes_with(digit);
    const int before = __popc(same & ((1u << lane) - 1));
    const std::int32_t start = exists ? counts[digit] : 0;
    __syncwarp();  // all lanes have read the counts
    if (exists && before == 0) counts[digit] = start + __popc(same);
    __syncwarp();  // the next round reads them
    if (exists) visit(pair, start + before);
  }
}

// The counters of the warps' parts, each for itself.
__device__ __forceinline__ void count_digits(const Part& part, const std::uint32_t* keys, int shift,
                                             DigitCounters& shared) {
  for (int warp = 0; warp < kWarps; ++warp) shared.counts[warp][threadIdx.x] = 0;
  __syncthreads();
  for_each_pair(part, keys, shift, shared.counts[threadIdx.x / kWarpSize], [](std::int64_t, std::int32_t) {});
  __syncthreads();
}

// counters [kDigits, tiles]
__global__ void __launch_bounds__(kThreads)
    count_kernel(const std::uint32_t* keys, std::int64_t count, int shift, std::int32_t* counters) {
  auto& shared = shared_memory<DigitCounters>();
  count_digits(Part::of_warp(count), keys, shift, shared);
  std::int32_t total = 0;
  for (int warp = 0; warp < kWarps; ++warp) total += shared.counts[warp][threadIdx.x];
  counters[static_cast<std::int64_t>(threadIdx.x) * gridDim.x + blockIdx.x] = total;
}

struct ScanParts {
  std::int32_t sums[kScanThreads / kWarpSize];
};

// Sum over the warp's lanes up to and with this one.
__device__ __forceinline__ std::int32_t warp_prefix_sum(std::int32_t x) {
  const int lane = static_cast<int>(threadIdx.x % kWarpSize);
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const std::int32_t other = __shfl_up_sync(kFullWarp, x, distance);
    if (lane >= distance) x += other;
  }
  return x;
}

// Each counter becomes the sum of those before it. One block; each thread has consecutive ones.
__global__ void __launch_bounds__(kScanThreads) scan_kernel(std::int32_t* counters, std::int64_t count) {
  static_assert(kScanThreads / kWarpSize == kWarpSize, "the warps' sums are one warp's work");
  auto& shared = shared_memory<ScanParts>();
  const std::int64_t each = (count + kScanThreads - 1) / kScanThreads;
  const std::int64_t begin = min(count, threadIdx.x * each), end = min(count, begin + each);
  std::int32_t sum = 0;
  for (std::int64_t i = begin; i < end; ++i) sum += counters[i];

  const unsigned warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  const std::int32_t up_to_here = warp_prefix_sum(sum);
  if (lane == kWarpSize - 1) shared.sums[warp] = up_to_here;
  __syncthreads();
  if (warp == 0) shared.sums[lane] = warp_prefix_sum(shared.sums[lane]);
  __syncthreads();

  std::int32_t before = up_to_here - sum + (warp > 0 ? shared.sums[warp - 1] : 0);
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int32_t here = counters[i];
    counters[i] = before;
    before += here;
  }
}

__global__ void __launch_bounds__(kThreads)
    scatter_kernel(KeyedValues from, KeyedValues to, std::int64_t count, int shift,
                   const std::int32_t* places) {
  auto& shared = shared_memory<DigitCounters>();
  const Part part = Part::of_warp(count);
  count_digits(part, from.keys, shift, shared);
  // Counts become the places where each warp's pairs with the thread's digit begin.
  std::int32_t place = places[static_cast<std::int64_t>(threadIdx.x) * gridDim.x + blockIdx.x];
  for (int warp = 0; warp < kWarps; ++warp) {
    const std::int32_t here = shared.counts[warp][threadIdx.x];
    shared.counts[warp][threadIdx.x] = place;
    place += here;
  }
  __syncthreads();
  for_each_pair(part, from.keys, shift, shared.counts[threadIdx.x / kWarpSize],
                [&](std::int64_t pair, std::int32_t place_of_pair) {
                  to.keys[place_of_pair] = from.keys[pair];
                  to.values[place_of_pair] = from.values[pair];
                });
}

}  // namespace

std::size_t stable_sort_bytes(std::int64_t count) {
  return static_cast<std::size_t>(tiles_of(count)) * kDigits * sizeof(std::int32_t);
}

KeyedValues stable_sort(KeyedValues pairs, KeyedValues other, std::int64_t count, int key_bits, void* work,
                        cudaStream_t stream) {
  auto* counters = static_cast<std::int32_t*>(work);
  const std::int64_t tiles = tiles_of(count);
  const LaunchShape tile_shape{dim3(static_cast<unsigned>(tiles)), dim3(kThreads), sizeof(DigitCounters)};
  for (int shift = 0; shift < key_bits; shift += kDigitBits) {
    launch<&count_kernel>(tile_shape, stream, pairs.keys, count, shift, counters);
    launch<&scan_kernel>({1, kScanThreads, sizeof(ScanParts)}, stream, counters, tiles * kDigits);
    launch<&scatter_kernel>(tile_shape, stream, pairs, other, count, shift, counters);
    std::swap(pairs, other);
  }
  return pairs;
}

}  // namespace heddle::cuda
