#include "kernels/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace heddle {
namespace {

// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox(0, {0, 0, 0, 0}), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ull, {~0u, ~0u, ~0u, ~0u}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822ull, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, KeysDifferByPurposeAndSeed) {
  std::set<std::uint64_t> keys;
  for (std::uint64_t seed : {0, 1, 2})
    for (const char* purpose : {"", "a", "b", "init/h.0", "init/h.1", "dropout/h.0"})
      keys.insert(philox_key(seed, purpose));
  EXPECT_EQ(keys.size(), 18u);
}

TEST(Philox, UniformLiesInZeroToOne) {
  EXPECT_GT(philox_uniform(0), 0.0f);
  EXPECT_EQ(philox_uniform(~0u), 1.0f);
}

// The first four moments of the normal distribution, within five standard errors.
TEST(Philox, NormalMoments) {
  constexpr int kCount = 200000;
  double moments[5] = {};
  for (int i = 0; i < kCount; ++i) {
    const double x = philox_normal(7, i);
    double power = 1;
    for (double& moment : moments) {
      moment += power / kCount;
      power *= x;
    }
  }
  const double error = 5 / std::sqrt(double(kCount));
  EXPECT_NEAR(moments[1], 0, error);
  EXPECT_NEAR(moments[2], 1, error * std::sqrt(2));
  EXPECT_NEAR(moments[3], 0, error * std::sqrt(15));
  EXPECT_NEAR(moments[4], 3, error * std::sqrt(96));
}

}  // namespace
}  // namespace heddle
