// The sampler: every window exactly once an epoch, in any order of asking, and evenly spread.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "tests/trainer/data_testing.h"
#include "trainer/data/sampler.h"

namespace heddle {
namespace {

using data_testing::message_of;

std::vector<std::int64_t> epoch_positions(const Sampler& sampler, std::int64_t epoch) {
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < sampler.windows_per_epoch(); ++i) {
    positions.push_back(sampler.sample(epoch * sampler.windows_per_epoch() + i).position);
  }
  return positions;
}

TEST(Sampler, EachWindowExactlyOnceAnEpoch) {
  for (const std::int64_t windows : {1, 2, 3, 5, 64, 65, 1000, 12345}) {
    for (const std::int64_t length : {1, 7, 64}) {
      for (const std::int64_t rest : {std::int64_t{0}, length - 1}) {
        const std::int64_t tokens = (windows + 1) * length + rest;
        const Sampler sampler(tokens, length, SampleOrder::shuffled, 42);
        ASSERT_EQ(sampler.windows_per_epoch(), windows);
        for (const std::int64_t epoch : {0, 1, 7}) {
          const std::int64_t offset = sampler.epoch_offset(epoch);
          EXPECT_GE(offset, 0);
          EXPECT_LT(offset, length);
          std::vector<bool> seen(static_cast<std::size_t>(windows));
          for (const std::int64_t position : epoch_positions(sampler, epoch)) {
            ASSERT_EQ((position - offset) % length, 0);
            const std::int64_t window = (position - offset) / length;
            ASSERT_LE(position + length + 1, tokens);
            ASSERT_GE(window, 0);
            ASSERT_FALSE(seen[window]);
            seen[window] = true;
          }
        }
      }
    }
  }
}

TEST(Sampler, SmallestDataGivesOneWindow) {
  for (std::int64_t tokens = 9; tokens < 24; ++tokens) {
    const Sampler sampler(tokens, 8, SampleOrder::shuffled, 1);
    EXPECT_EQ(sampler.windows_per_epoch(), 1);
    std::set<std::int64_t> offsets;
    for (std::int64_t i = 0; i < 200; ++i) {
      const std::int64_t position = sampler.sample(i).position;
      ASSERT_GE(position, 0);
      ASSERT_LE(position + 9, tokens);
      offsets.insert(position);
    }
    EXPECT_EQ(offsets.size(), static_cast<std::size_t>(std::min<std::int64_t>(8, tokens - 8))) << tokens;
  }
  EXPECT_NE(message_of([] { Sampler(8, 8, SampleOrder::shuffled); }).find("8 tokens"), std::string::npos);
  EXPECT_NE(message_of([] { Sampler(0, 8, SampleOrder::sequential); }), "");
  EXPECT_NE(message_of([] { Sampler(8, 0, SampleOrder::sequential); }), "");
}

TEST(Sampler, IsAPureFunctionOfTheNumber) {
  const Sampler one(100000, 16, SampleOrder::shuffled, 5), other(100000, 16, SampleOrder::shuffled, 5);
  for (const std::int64_t i : {99999, 3, 50000, 3, 0})
    EXPECT_EQ(one.sample(i).position, other.sample(i).position);
  // These values are a promise: a run that is resumed with a later version must see the same data.
  std::vector<std::int64_t> positions;
  for (const std::int64_t i : {0, 1, 2, 6248, 6249, 1000000000}) positions.push_back(one.sample(i).position);
  EXPECT_EQ(positions, (std::vector<std::int64_t>{62649, 88345, 29193, 9593, 69770, 3324}));
}

TEST(Sampler, EpochsAndSeedsDiffer) {
  const Sampler sampler(64 * 1001, 64, SampleOrder::shuffled, 5);
  const auto first = epoch_positions(sampler, 0);
  int same_place = 0, same_offset = 0;
  for (std::int64_t epoch = 1; epoch <= 20; ++epoch) {
    same_offset += sampler.epoch_offset(epoch) == sampler.epoch_offset(0);
    for (std::int64_t i = 0; i < 1000; ++i) {
      same_place += sampler.sample(epoch * 1000 + i).window == sampler.sample(i).window;
    }
  }
  EXPECT_LT(same_place, 50);  // 20 expected
  EXPECT_LT(same_offset, 5);
  EXPECT_NE(epoch_positions(Sampler(64 * 1001, 64, SampleOrder::shuffled, 6), 0), first);
}

// Chi-square over where in the order one window comes, for many epochs: 9 degrees of freedom, p < 1e-6 at 45.
TEST(Sampler, PlacesAreUniform) {
  for (const std::int64_t windows : {3, 10, 50, 1000}) {
    const Sampler sampler((windows + 1) * 4, 4, SampleOrder::shuffled, 11);
    for (const std::int64_t place : {std::int64_t{0}, windows - 1}) {
      const std::int64_t bins = std::min<std::int64_t>(10, windows), epochs = 20000;
      std::vector<double> counts(static_cast<std::size_t>(bins));
      for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
        ++counts[sampler.sample(epoch * windows + place).window * bins / windows];
      }
      double chi_square = 0;
      for (std::int64_t bin = 0; bin < bins; ++bin) {
        const double expected = static_cast<double>(epochs) / static_cast<double>(bins);
        chi_square += (counts[bin] - expected) * (counts[bin] - expected) / expected;
      }
      EXPECT_LT(chi_square, 45) << windows << " windows, place " << place;
    }
  }
}

TEST(Sampler, AllOrdersOfThreeWindowsComeUp) {
  const Sampler sampler(16, 4, SampleOrder::shuffled, 3);
  std::map<std::vector<std::int64_t>, int> orders;
  for (std::int64_t epoch = 0; epoch < 6000; ++epoch) {
    std::vector<std::int64_t> order;
    for (std::int64_t i = 0; i < 3; ++i) order.push_back(sampler.sample(epoch * 3 + i).window);
    ++orders[order];
  }
  EXPECT_EQ(orders.size(), 6u);
  for (const auto& [order, count] : orders) EXPECT_NEAR(count, 1000, 200);
}

// Neighbours in the order are not neighbours in the text more often than by chance.
TEST(Sampler, OrderHasNoRuns) {
  const std::int64_t windows = 100000;
  const Sampler sampler((windows + 1) * 2, 2, SampleOrder::shuffled, 8);
  int neighbours = 0;
  for (std::int64_t i = 0; i + 1 < windows; ++i) {
    neighbours += std::abs(sampler.sample(i + 1).window - sampler.sample(i).window) == 1;
  }
  EXPECT_LT(neighbours, 12);  // 2 expected
}

TEST(Sampler, SequentialTakesAllWholeWindowsInOrder) {
  const Sampler sampler(8 * 3 + 1, 8, SampleOrder::sequential);
  EXPECT_EQ(sampler.windows_per_epoch(), 3);
  EXPECT_EQ(epoch_positions(sampler, 0), (std::vector<std::int64_t>{0, 8, 16}));
  EXPECT_EQ(epoch_positions(sampler, 1), (std::vector<std::int64_t>{0, 8, 16}));
  EXPECT_EQ(Sampler(8 * 3, 8, SampleOrder::sequential).windows_per_epoch(), 2);
  EXPECT_EQ(Sampler(8 * 4, 8, SampleOrder::sequential).windows_per_epoch(), 3);
}

TEST(Sampler, ServesHugeData) {
  const std::int64_t tokens = std::int64_t{15} * 1000 * 1000 * 1000 * 1000;
  const Sampler sampler(tokens, 8192, SampleOrder::shuffled, 1);
  std::set<std::int64_t> positions;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const std::int64_t position = sampler.sample(i).position;
    ASSERT_GE(position, 0);
    ASSERT_LE(position + 8193, tokens);
    positions.insert(position);
  }
  EXPECT_EQ(positions.size(), 1000u);
}

}  // namespace
}  // namespace heddle
