// Philox4x32-10, a counter-based random generator: the value is a pure function of (key, counter), so any rank,
// thread or replay gets the same bits for the same logical element.
// Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11. Same constants as cuRAND.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace heddle {

using PhiloxBlock = std::array<std::uint32_t, 4>;

// constexpr, so that device code may call it.
constexpr PhiloxBlock philox(std::uint64_t key, PhiloxBlock counter) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * counter[0], p1 = 0xCD9E8D57ull * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

// A key for one purpose ("init/h.0.attn.c_attn.weight", "dropout/h.3.mlp") under the run's seed.
// FNV-1a of the name mixed with the seed (splitmix64's finalizer).
inline std::uint64_t philox_key(std::uint64_t seed, std::string_view purpose) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (unsigned char c : purpose) h = (h ^ c) * 0x100000001b3ull;
  h ^= seed + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  return h ^ (h >> 31);
}

// Uniform in (0, 1]: never 0, so that its logarithm is finite.
inline float philox_uniform(std::uint32_t bits) { return (static_cast<float>(bits >> 8) + 1.0f) * 0x1p-24f; }

// Uniform number `index` of the stream `key`, in (0, 1].
inline float philox_uniform(std::uint64_t key, std::uint64_t index) {
  const std::uint64_t block = index / 4;
  return philox_uniform(philox(
      key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0u, 0x756e6966u})[index % 4]);
}

// Standard normal number `index` of the stream `key` (Box-Muller on one block per pair of indices).
inline float philox_normal(std::uint64_t key, std::uint64_t index) {
  const std::uint64_t pair = index / 2;
  const PhiloxBlock r =
      philox(key, {static_cast<std::uint32_t>(pair), static_cast<std::uint32_t>(pair >> 32), 0u, 0x6e6f726du});
  const double u = philox_uniform(r[0]), v = philox_uniform(r[1]);
  const double radius = std::sqrt(-2.0 * std::log(u)), angle = 6.283185307179586 * v;
  return static_cast<float>(radius * (index % 2 ? std::sin(angle) : std::cos(angle)));
}

}  // namespace heddle
