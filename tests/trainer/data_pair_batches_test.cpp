// Batches of pairs: each pair once an epoch, shapes that hold and do not change, any step at once, little
// padding.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/trainer/data_testing.h"
#include "trainer/data/pair_batches.h"

namespace heddle {
namespace {

using namespace data_testing;

// Lengths as of sentences and their translations: about log-normal, alike on both sides.
std::vector<PairLength> sentence_lengths(std::size_t pairs, std::uint64_t seed = 1) {
  Random random(seed);
  const auto normal = [&] {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random.below(1 << 20)) / (1 << 20);
    return sum - 6;
  };
  std::vector<PairLength> lengths(pairs);
  for (PairLength& length : lengths) {
    const double source = std::exp(2.65 + 0.35 * normal()), target = source * std::exp(0.18 * normal());
    length = {1 + static_cast<std::int32_t>(source), 1 + static_cast<std::int32_t>(target)};
  }
  return lengths;
}

std::vector<std::int64_t> list(const PairBatches& batches, std::int64_t step) {
  std::vector<std::int64_t> pairs;
  batches.list(step, pairs);
  return pairs;
}

TEST(PairBatches, RoundedLengthsAreAFineGrid) {
  EXPECT_EQ(rounded_length(1, 100), 2);
  EXPECT_EQ(rounded_length(2, 100), 2);
  EXPECT_EQ(rounded_length(17, 100), 18);
  EXPECT_EQ(rounded_length(33, 100), 36);
  EXPECT_EQ(rounded_length(65, 100), 72);
  EXPECT_EQ(rounded_length(99, 100), 100);
  EXPECT_EQ(rounded_length(99, 99), 99);
  EXPECT_EQ(rounded_length(1, 1), 1);
  for (std::int64_t length = 1; length <= 5000; ++length) {
    const std::int64_t rounded = rounded_length(length, 10000);
    EXPECT_GE(rounded, length);
    EXPECT_LT(rounded - length, std::max<std::int64_t>(2, length / 8));
    EXPECT_EQ(rounded_length(rounded, 10000), rounded);
    EXPECT_LE(rounded, rounded_length(length + 1, 10000));
  }
}

TEST(PairBatches, EachPairExactlyOnceAnEpoch) {
  for (const std::size_t pairs : {1, 2, 7, 64, 1000}) {
    const std::vector<PairLength> lengths = sentence_lengths(pairs);
    for (const auto& [global_batch, batch_tokens] :
         {std::pair(1, 0), {7, 0}, {128, 0}, {5000, 0}, {1, 1}, {1, 300}}) {
      for (const bool shuffled : {true, false}) {
        const PairBatches batches(lengths, {global_batch, batch_tokens, 1000, shuffled, 5});
        EXPECT_EQ(batches.pairs(), static_cast<std::int64_t>(pairs));
        for (const std::int64_t epoch : {0, 1, 9}) {
          std::vector<int> seen(pairs);
          for (std::int64_t i = 0; i < batches.batches(); ++i) {
            for (const std::int64_t pair : list(batches, epoch * batches.batches() + i)) ++seen.at(pair);
          }
          ASSERT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<std::ptrdiff_t>(pairs));
        }
      }
    }
  }
}

TEST(PairBatches, ShapesHoldTheirPairsAndAreTheSameInEveryEpoch) {
  const std::vector<PairLength> lengths = sentence_lengths(3000);
  for (const std::int64_t batch_tokens : {0, 1000}) {
    const PairBatches batches(lengths, {50, batch_tokens, 60, true, 5});
    std::multiset<std::tuple<std::int64_t, std::int64_t, std::int64_t>> expected, found;
    for (const PairBatches::Shape& s : batches.shapes())
      expected.insert({s.pairs, s.length, s.source_length});
    for (const std::int64_t epoch : {0, 3}) {
      found.clear();
      for (std::int64_t i = 0; i < batches.batches(); ++i) {
        const std::int64_t step = epoch * batches.batches() + i;
        const PairBatches::Shape shape = batches.shape(step);
        const std::vector<std::int64_t> pairs = list(batches, step);
        ASSERT_EQ(static_cast<std::int64_t>(pairs.size()), shape.pairs);
        std::int64_t tokens = 0;
        for (const std::int64_t pair : pairs) {
          ASSERT_LE(lengths[pair].source, shape.source_length);
          ASSERT_LE(lengths[pair].target, shape.length);
          tokens += lengths[pair].target;
        }
        EXPECT_EQ(batches.target_tokens(step), tokens);
        EXPECT_LE(std::max(shape.length, shape.source_length), 60);
        found.insert({shape.pairs, shape.length, shape.source_length});
      }
      EXPECT_EQ(found, expected);
    }
  }
}

TEST(PairBatches, SizesAreAsAsked) {
  const std::vector<PairLength> lengths = sentence_lengths(3010);
  const PairBatches by_pairs(lengths, {100, 0, 1000, true, 5});
  EXPECT_EQ(by_pairs.batches(), 31);
  EXPECT_EQ(std::count_if(by_pairs.shapes().begin(), by_pairs.shapes().end(),
                          [](auto& s) { return s.pairs == 100; }),
            30);
  const PairBatches by_tokens(lengths, {100, 1000, 1000, true, 5});
  for (const PairBatches::Shape& s : by_tokens.shapes()) {
    EXPECT_LE(s.pairs * std::max(s.length, s.source_length), 1000);
  }
  // No two neighbours fit in one: the budget is used.
  EXPECT_LT(by_tokens.batches(), 75);
  // Longer than the budget: by itself.
  const PairBatches tight(lengths, {100, 10, 1000, true, 5});
  for (const PairBatches::Shape& s : tight.shapes()) {
    EXPECT_TRUE(s.pairs == 1 || s.pairs * std::max(s.length, s.source_length) <= 10);
  }
}

TEST(PairBatches, AnyStepIsFoundWithoutThoseBeforeIt) {
  const std::vector<PairLength> lengths = sentence_lengths(500);
  const PairBatchOptions options{20, 0, 1000, true, 5};
  const PairBatches batches(lengths, options), other(lengths, options);
  std::vector<std::vector<std::int64_t>> in_order;
  for (std::int64_t step = 0; step < 60; ++step) in_order.push_back(list(batches, step));
  for (const std::int64_t step : {59, 0, 31, 30, 31, 7}) EXPECT_EQ(list(other, step), in_order[step]);
  EXPECT_EQ(list(other, std::int64_t{1} << 40).size(), 20u);
}

TEST(PairBatches, EpochsAndSeedsDiffer) {
  const std::vector<PairLength> lengths = sentence_lengths(2000);
  const PairBatches batches(lengths, {20, 0, 1000, true, 5}), seed(lengths, {20, 0, 1000, true, 6});
  const auto as_set = [](const PairBatches& b, std::int64_t step) {
    const std::vector<std::int64_t> pairs = list(b, step);
    return std::set<std::int64_t>(pairs.begin(), pairs.end());
  };
  std::set<std::set<std::int64_t>> first;
  for (std::int64_t i = 0; i < batches.batches(); ++i) first.insert(as_set(batches, i));
  int again = 0, same_seed = 0, same_place = 0;
  for (std::int64_t i = 0; i < batches.batches(); ++i) {
    again += static_cast<int>(first.count(as_set(batches, batches.batches() + i)));
    same_seed += static_cast<int>(first.count(as_set(seed, i)));
    same_place += batches.shape(i).length == batches.shape(batches.batches() + i).length;
  }
  EXPECT_LT(again, 15);  // of 100: batches of rare lengths keep their pairs
  EXPECT_LT(same_seed, 15);
  EXPECT_LT(same_place, 30);  // the order is another
}

TEST(PairBatches, LengthsComeInNoOrder) {
  const std::vector<PairLength> lengths = sentence_lengths(0x4000);
  const PairBatches batches(lengths, {32, 0, 1000, true, 5});
  std::int64_t falls = 0;
  for (std::int64_t i = 1; i < batches.batches(); ++i)
    falls += batches.shape(i).length < batches.shape(i - 1).length;
  EXPECT_GT(falls, batches.batches() / 3);
  EXPECT_LT(falls, batches.batches() * 2 / 3);
}

TEST(PairBatches, WithoutShufflingAllEpochsAreAlike) {
  const std::vector<PairLength> lengths = sentence_lengths(300);
  const PairBatches batches(lengths, {20, 0, 1000, false, 5});
  for (std::int64_t i = 0; i < batches.batches(); ++i)
    EXPECT_EQ(list(batches, i), list(batches, i + batches.batches()));
  for (std::int64_t i = 1; i < batches.batches(); ++i)
    EXPECT_LE(batches.shape(i - 1).length, batches.shape(i).length);
}

TEST(PairBatches, TooLongPairsAreLeftOut) {
  const std::vector<PairLength> lengths{{3, 3}, {9, 3}, {3, 9}, {8, 8}, {1, 1}, {INT32_MAX, 1}};
  const PairBatches batches(lengths, {10, 0, 8, true, 5});
  EXPECT_EQ(batches.left_out(), 3);
  EXPECT_EQ(batches.pairs(), 3);
  EXPECT_EQ(batches.source_tokens(), 12);
  EXPECT_EQ(batches.target_tokens(), 12);
  std::vector<std::int64_t> pairs = list(batches, 0);
  std::sort(pairs.begin(), pairs.end());
  EXPECT_EQ(pairs, (std::vector<std::int64_t>{0, 3, 4}));
}

TEST(PairBatches, LittleIsPadding) {
  const std::vector<PairLength> lengths = sentence_lengths(29000);
  for (const auto& [global_batch, batch_tokens] : {std::pair(128, 0), {128, 4096}}) {
    const PairBatches batches(lengths, {global_batch, batch_tokens, 100, true, 1});
    const PairBatches::Waste waste = batches.waste();
    EXPECT_LT(waste.both, 0.08);
    EXPECT_LT(waste.source, 0.1);
    EXPECT_LT(waste.target, 0.1);
    // What it is, counted another way.
    std::int64_t positions = 0;
    for (std::int64_t i = 0; i < batches.batches(); ++i) {
      const PairBatches::Shape shape = batches.shape(i);
      positions += shape.pairs * (shape.length + shape.source_length);
    }
    EXPECT_NEAR(waste.both,
                static_cast<double>(positions - batches.source_tokens() - batches.target_tokens()) /
                    static_cast<double>(positions),
                1e-12);
  }
}

TEST(PairBatches, RefusesWhatCannotWork) {
  const std::vector<PairLength> lengths{{3, 3}, {9, 3}};
  const auto failure = [&](const PairBatchOptions& options) {
    return message_of([&] { PairBatches(lengths, options); });
  };
  EXPECT_NE(failure({10, 0, 2, true, 1}).find("all 2 pairs are longer than context_length = 2"),
            std::string::npos);
  EXPECT_NE(failure({0, 0, 10, true, 1}), "");
  EXPECT_NE(failure({10, -1, 10, true, 1}), "");
  EXPECT_NE(failure({10, 0, 0, true, 1}), "");
  EXPECT_EQ(failure({0, 10, 10, true, 1}), "");
}

}  // namespace
}  // namespace heddle
