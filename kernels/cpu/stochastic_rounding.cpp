// Stochastic rounding of a flat buffer of parameters.
#include "kernels/stochastic_rounding.h"

#include <algorithm>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_words.h"
#include "kernels/cpu/vector.h"

namespace heddle {

using namespace cpu;

namespace {

// Elements that one vector call of Philox decides about. Of a shorter rest, blocks are made one by one.
constexpr std::int64_t kChunk = 2 * kPhiloxWords;
constexpr std::int64_t kFewElements = kChunk / 8;

// The random half words of one chunk; a vector may be read from any of its elements on.
struct RandomHalves {
  std::uint32_t words[kPhiloxWords + kLanes] = {};

  UIntVector at(std::int64_t element) const {
    ShortVector halves;  // little endian: a word stored is its lower half, then its upper one
    std::memcpy(&halves, reinterpret_cast<const char*>(words) + 2 * element, sizeof halves);
    return __builtin_convertvector(halves, UIntVector);
  }
};

class Rounding {
 public:
  Rounding(std::uint64_t key, std::uint32_t update) : key_(key), update_(update), keys_(key) {}

  // Elements that are neighbours in the global parameter, the first of them `number` there.
  void round(std::uint64_t number, std::int64_t count, const float* from, bfloat16* to) const {
    RandomHalves random;
    while (count > 0) {
      const std::int64_t skip = static_cast<std::int64_t>(number % kRoundingsPerBlock);
      const std::int64_t taken = std::min(kChunk - skip, count);
      draw(number / kRoundingsPerBlock, skip + taken, random);
      for_each_vector(0, taken, [&](std::int64_t i, auto extent) {
        store_bits(to + i, rounded(load(from + i, extent), random.at(skip + i)), extent);
      });
      number += static_cast<std::uint64_t>(taken);
      from += taken, to += taken, count -= taken;
    }
  }

 private:
  void draw(std::uint64_t block, std::int64_t elements, RandomHalves& random) const {
    if (elements > kFewElements) return philox_words(keys_, block, 0, update_, random.words);
    for (std::int64_t i = 0; i * kRoundingsPerBlock < elements; ++i) {
      const PhiloxBlock words = rounding_block(key_, block + static_cast<std::uint64_t>(i), update_);
      std::copy(words.begin(), words.end(), random.words + i * 4);
    }
  }

  // stochastically_rounded() of every lane.
  static UIntVector rounded(FloatVector x, UIntVector random) {
    const UIntVector bits = to_bits(x), magnitude = bits & 0x7fffffffu;
    const UIntVector quiet = magnitude > kInfinity ? UIntVector{} + 0x40u : UIntVector{};
    return magnitude < kLargestBfloat16 ? (bits + random) >> 16 : (bits >> 16) | quiet;
  }

  static void store_bits(bfloat16* to, UIntVector bits, Full) {
    const ShortVector narrow = __builtin_convertvector(bits, ShortVector);
    std::memcpy(to, &narrow, sizeof narrow);
  }
  static void store_bits(bfloat16* to, UIntVector bits, Part part) {
    const ShortVector narrow = __builtin_convertvector(bits, ShortVector);
    std::memcpy(to, &narrow, static_cast<std::size_t>(part.lanes) * sizeof(bfloat16));
  }

  std::uint64_t key_;
  std::uint32_t update_;
  PhiloxKeys keys_;
};

}  // namespace

void CpuOps::round_stochastically(const StochasticRounding& r) {
  checks::round_stochastically(r);
  if (r.step->skip) return;
  for (std::int32_t i = 0; i < r.place_count; ++i) {
    const GlobalPlace& place = r.places[i];
    const std::int64_t end = i + 1 < r.place_count ? r.places[i + 1].begin : r.from.count();
    const float* from = r.from.as<float>() + place.begin;
    bfloat16* to = r.to.as<bfloat16>() + place.begin;
    const Rounding rounding(place.key, r.step->update);
    parallel_parts(threads_, end - place.begin, 1, kFlatGrain,
                   [&](std::int64_t local, std::int64_t part_end) {
                     while (local < part_end) {
                       const PlaceInRun at = place_in_run(place, local);
                       const std::int64_t count = std::min(at.rest, part_end - local);
                       rounding.round(at.number, count, from + local, to + local);
                       local += count;
                     }
                   });
  }
}

}  // namespace heddle
