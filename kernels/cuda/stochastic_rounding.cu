// Stochastic rounding of a flat buffer of parameters: each thread has the elements that may share a block of
// Philox.
#include "kernels/checks.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pack.h"
#include "kernels/stochastic_rounding.h"

namespace heddle {

namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kEach = kRoundingsPerBlock;  // elements per thread
static_assert(kSpanAlignment % kEach == 0, "the elements of a thread are of one parameter");

struct RoundingArguments {
  const float* from;
  bfloat16* to;
  std::int64_t count;
  const GlobalPlace* places;
  std::int32_t place_count;
  const AdamWStep* step;
  bool packs;  // `from` and `to` may be read and written 16 bytes at a time
};

// The parameter that an element belongs to: the last one that does not begin behind it.
__device__ __forceinline__ std::int32_t place_of(const RoundingArguments& a, std::int64_t element) {
  std::int32_t low = 0;
  for (std::int32_t high = a.place_count; high - low > 1;) {
    const std::int32_t middle = low + (high - low) / 2;
    if (a.places[middle].begin <= element)
      low = middle;
    else
      high = middle;
  }
  return low;
}

__device__ __forceinline__ void round_together(const float* from, const PhiloxBlock& random, bfloat16* to) {
  std::uint32_t packed[kEach / 2];
#pragma unroll
  for (int half = 0; half < kEach; half += kPack<float>) {
    float x[kPack<float>];
    load_pack(from + half, x);
#pragma unroll
    for (int i = 0; i < kPack<float>; i += 2) {
      const std::uint32_t word = random[(half + i) / 2];
      packed[(half + i) / 2] = stochastically_rounded(__float_as_uint(x[i]), word & 0xffffu) |
                               stochastically_rounded(__float_as_uint(x[i + 1]), word >> 16) << 16;
    }
  }
  *reinterpret_cast<uint4*>(to) = make_uint4(packed[0], packed[1], packed[2], packed[3]);
}

// Where the elements of a thread are not one block: a block for each.
__device__ __forceinline__ bfloat16 round_alone(float x, std::uint64_t key, std::uint64_t number,
                                                std::uint32_t update) {
  const PhiloxBlock random = rounding_block(key, number / kRoundingsPerBlock, update);
  const auto half = static_cast<int>(number % kRoundingsPerBlock), word = half / 2;
  // No index that is known only at run time into registers.
  const std::uint32_t lower = word == 0 ? random[0] : random[1], upper = word == 2 ? random[2] : random[3];
  const std::uint32_t chosen = word < 2 ? lower : upper;
  bfloat16 rounded;
  rounded.bits = static_cast<std::uint16_t>(
      stochastically_rounded(__float_as_uint(x), half % 2 == 0 ? chosen & 0xffffu : chosen >> 16));
  return rounded;
}

__global__ void __launch_bounds__(kThreads) round_stochastically_kernel(RoundingArguments a) {
  if (a.step->skip) return;
  const std::uint32_t update = a.step->update;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kEach;
  if (first >= a.count) return;
  const std::int32_t index = place_of(a, first);
  const GlobalPlace place = a.places[index];
  const std::int64_t end = index + 1 < a.place_count ? a.places[index + 1].begin : a.count;
  const PlaceInRun at = place_in_run(place, first - place.begin);
  if (a.packs && first + kEach <= end && at.rest >= kEach && at.number % kEach == 0) {
    round_together(a.from + first, rounding_block(place.key, at.number / kEach, update), a.to + first);
    return;
  }
#pragma unroll 1
  for (std::int64_t i = first; i < min(first + kEach, a.count); ++i) {
    const GlobalPlace own = i < end ? place : a.places[place_of(a, i)];
    a.to[i] = round_alone(a.from[i], own.key, place_in_run(own, i - own.begin).number, update);
  }
}

}  // namespace

}  // namespace cuda

using namespace cuda;

void CudaOps::round_stochastically(const StochasticRounding& r) {
  checks::round_stochastically(r);
  const bool packs = packs_fit<float>(r.from.data, 0) && packs_fit<bfloat16>(r.to.data, 0);
  const RoundingArguments arguments{
      r.from.as<float>(), r.to.as<bfloat16>(), r.from.count(), r.places, r.place_count, r.step, packs};
  launch<&round_stochastically_kernel>({blocks_for(arguments.count, kThreads * kEach), kThreads}, stream_,
                                       arguments);
}

}  // namespace heddle
