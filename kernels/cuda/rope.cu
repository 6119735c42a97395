// The family "rope": 2 elements of act moved per rotated element (1 read, 1 write), in place. A block turns
// all heads of a token, so that its angles are computed once.
#include <numbers>

#include "kernels/checks.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/map.h"
#include "kernels/rope.h"

namespace heddle {

using namespace cuda;

namespace {

constexpr int kRopeThreads = 128;

// Turns per position, each as the sum of two floats: a position times a frequency then is exact to the
// fraction of a turn that counts, however far into a long text it is.
struct Turns {
  float high[kMaxRotarySize / 2], low[kMaxRotarySize / 2];

  Turns(std::int64_t rotary_size, float base) : high{}, low{} {
    const RotaryFrequencies frequencies = rotary_frequencies(rotary_size, base);
    for (std::int64_t i = 0; i < rotary_size / 2; ++i) {
      const double turns = frequencies[i] / (2 * std::numbers::pi);
      high[i] = static_cast<float>(turns);
      low[i] = static_cast<float>(turns - double(high[i]));
    }
  }
};

// Heads of [B, T, H, D] at any stride.
template <typename T>
struct Heads {
  T* data;
  std::int64_t batch_stride, token_stride, head_stride;
  std::uint64_t length;  // T
  int count, half;       // half: of rotary_size
};

struct Angles {
  float cosine[kMaxRotarySize / 2], sine[kMaxRotarySize / 2];
};

// The angle in (-pi, pi] that position * frequency is, up to whole turns.
__device__ __forceinline__ float angle_of(std::int32_t position, float high, float low) {
  constexpr float kTwoPi = 6.28318530717958647693f;
  const auto p = static_cast<float>(position);
  const float turns = __fmul_rn(p, high);  // rounded here, whatever it is used in
  const float rest = fmaf(p, low, fmaf(p, high, -turns));
  return kTwoPi * ((turns - rintf(turns)) + rest);
}

template <typename T, int N>
__global__ void __launch_bounds__(kRopeThreads)
    rope_kernel(Heads<T> heads, const std::int32_t* positions, const __grid_constant__ Turns turns,
                bool inverse) {
  auto& angles = shared_memory<Angles>();
  const std::int32_t position = positions[blockIdx.x];
  for (int i = threadIdx.x; i < heads.half; i += kRopeThreads) {
    const float angle = angle_of(position, turns.high[i], turns.low[i]);
    angles.cosine[i] = cosf(angle);
    angles.sine[i] = inverse ? -sinf(angle) : sinf(angle);
  }
  __syncthreads();

  const auto sample = static_cast<std::int64_t>(blockIdx.x / heads.length);
  const auto at = static_cast<std::int64_t>(blockIdx.x % heads.length);
  T* token = heads.data + sample * heads.batch_stride + at * heads.token_stride;
  const int pieces = heads.half / N;
  for (int work = threadIdx.x; work < heads.count * pieces; work += kRopeThreads) {
    const int i = work % pieces * N;
    T* head = token + work / pieces * heads.head_stride;
    float first[N], second[N], x[N], y[N];
    load_elements(head + i, first);
    load_elements(head + heads.half + i, second);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float cosine = angles.cosine[i + k], sine = angles.sine[i + k];
      x[k] = first[k] * cosine - second[k] * sine;
      y[k] = second[k] * cosine + first[k] * sine;
    }
    store_elements(head + i, x);
    store_elements(head + heads.half + i, y);
  }
}

}  // namespace

void CudaOps::rope(const Rope& r) {
  checks::rope(r);
  const Tensor& x = r.x;
  if (x.count() == 0) return;
  const auto tokens = static_cast<unsigned>(x.size(0) * x.size(1));
  const Turns turns(r.rotary_size, r.base);
  const LaunchShape shape{tokens, kRopeThreads, sizeof(Angles)};
  const auto* positions = r.positions.as<std::int32_t>();
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const Heads<T> heads{x.as<T>(),
                         x.stride[0],
                         x.stride[1],
                         x.stride[2],
                         static_cast<std::uint64_t>(x.size(1)),
                         static_cast<int>(x.size(2)),
                         static_cast<int>(r.rotary_size / 2)};
    const bool packs = heads.half % kPack<T> == 0 && packs_fit<T>(x.data, x.stride[0]) &&
                       packs_fit<T>(x.data, x.stride[1]) && packs_fit<T>(x.data, x.stride[2]);
    if (packs)
      launch<&rope_kernel<T, kPack<T>>>(shape, stream_, heads, positions, turns, r.inverse);
    else
      launch<&rope_kernel<T, 1>>(shape, stream_, heads, positions, turns, r.inverse);
  });
}

}  // namespace heddle
