// Philox (kernels/philox.h) for many counters at a time.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/vector.h"

namespace heddle::cpu {

// One 32-bit word in the low half of each 64-bit lane; the upper halves hold anything.
constexpr int kPhiloxBlocks = kLanes / 2;
using WideVector = std::uint64_t __attribute__((vector_size(kPhiloxBlocks * 8)));

// The 64-bit products of the low halves.
inline WideVector multiply_low_halves(WideVector a, WideVector b) {
#if defined(__AVX512F__)  // the plain intrinsic trips -Wuninitialized in g++ 12; this is the same instruction
  return std::bit_cast<WideVector>(
      _mm512_maskz_mul_epu32(0xff, std::bit_cast<__m512i>(a), std::bit_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return std::bit_cast<WideVector>(_mm256_mul_epu32(std::bit_cast<__m256i>(a), std::bit_cast<__m256i>(b)));
#elif defined(__SSE2__)
  return std::bit_cast<WideVector>(_mm_mul_epu32(std::bit_cast<__m128i>(a), std::bit_cast<__m128i>(b)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// The keys of Philox's ten rounds.
struct PhiloxKeys {
  std::uint64_t low[10], high[10];

  explicit PhiloxKeys(std::uint64_t key) {
    std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      low[round] = k0;
      high[round] = k1;
    }
  }
};

// Independent vectors of blocks computed side by side: one alone would wait for its multiplications.
constexpr int kPhiloxChains = kLanes == 16 ? 4 : 2;  // as many as the registers hold
constexpr int kPhiloxWords = 4 * kPhiloxBlocks * kPhiloxChains;

// Philox4x32-10 (kernels/philox.h) of the counters (block, sample, step), block = first_block + 0, 1, ...:
// word w of block b at words[4 b + w]. The wider the vector, the more words: kPhiloxWords of them.
inline void philox_words(const PhiloxKeys& keys, std::uint64_t first_block, std::uint32_t sample,
                         std::uint32_t step, std::uint32_t* words) {
  constexpr WideVector kNone = {};
  WideVector lanes = {}, low_lanes = {}, high_lanes = {};  // constants once compiled
  for (int i = 0; i < kPhiloxBlocks; ++i) {
    lanes[i] = i;
    low_lanes[i] = i / 2 + (i % 2) * kPhiloxBlocks;
    high_lanes[i] = low_lanes[i] + kPhiloxBlocks / 2;
  }
  WideVector x0[kPhiloxChains], x1[kPhiloxChains], x2[kPhiloxChains], x3[kPhiloxChains];
  for (int c = 0; c < kPhiloxChains; ++c) {
    x0[c] = lanes + (first_block + c * kPhiloxBlocks);
    x1[c] = x0[c] >> 32;
    x2[c] = kNone + sample;
    x3[c] = kNone + step;
  }
  for (int round = 0; round < 10; ++round)
    for (int c = 0; c < kPhiloxChains; ++c) {
      const WideVector p0 = multiply_low_halves(x0[c], kNone + 0xD2511F53u);
      const WideVector p1 = multiply_low_halves(x2[c], kNone + 0xCD9E8D57u);
      x0[c] = (p1 >> 32) ^ x1[c] ^ keys.low[round];
      x2[c] = (p0 >> 32) ^ x3[c] ^ keys.high[round];
      x1[c] = p1;
      x3[c] = p0;
    }
  for (int c = 0; c < kPhiloxChains; ++c) {
    // Little endian: a 64-bit lane stored is its low word, then its high word.
    const WideVector first = (x0[c] & 0xffffffffu) | (x1[c] << 32),
                     second = (x2[c] & 0xffffffffu) | (x3[c] << 32);
    const WideVector low = __builtin_shuffle(first, second, low_lanes);
    const WideVector high = __builtin_shuffle(first, second, high_lanes);
    std::memcpy(words + 2 * c * kLanes, &low, sizeof low);
    std::memcpy(words + (2 * c + 1) * kLanes, &high, sizeof high);
  }
}

}  // namespace heddle::cpu
