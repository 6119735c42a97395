// The family "rope".
#include "kernels/rope.h"

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector.h"

namespace heddle {

using namespace cpu;

namespace {

// Of one token's angles; the sines are those of the negative angles for the inverse.
struct Angles {
  alignas(64) float cosine[kMaxRotarySize / 2], sine[kMaxRotarySize / 2];

  Angles(const RotaryFrequencies& frequencies, std::int64_t half, std::int32_t position, bool inverse) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = position * frequencies[i];
      cosine[i] = static_cast<float>(std::cos(angle));
      sine[i] = static_cast<float>(inverse ? -std::sin(angle) : std::sin(angle));
    }
  }
};

template <typename T>
void turn_head(T* head, std::int64_t half, const Angles& angles) {
  for_each_vector(0, half, [&](std::int64_t i, auto extent) {
    const FloatVector first = load(head + i, extent), second = load(head + half + i, extent);
    const FloatVector cosine = load(angles.cosine + i, extent), sine = load(angles.sine + i, extent);
    store(head + i, first * cosine - second * sine, extent);
    store(head + half + i, second * cosine + first * sine, extent);
  });
}

}  // namespace

void CpuOps::rope(const Rope& r) {
  checks::rope(r);
  const std::int64_t length = r.x.size(1), heads = r.x.size(2), half = r.rotary_size / 2;
  const RotaryFrequencies frequencies = rotary_frequencies(r.rotary_size, r.base);
  const std::int32_t* positions = r.positions.as<std::int32_t>();
  with_act_type(r.x.dtype, [&](auto type) {
    using T = decltype(type);
    parallel_rows(threads_, r.x.size(0) * length, heads * r.rotary_size, [&](std::int64_t token) {
      const Angles angles(frequencies, half, positions[token], r.inverse);
      T* x = r.x.as<T>() + token / length * r.x.stride[0] + token % length * r.x.stride[1];
      for (std::int64_t h = 0; h < heads; ++h) turn_head(x + h * r.x.stride[2], half, angles);
    });
  });
}

}  // namespace heddle
