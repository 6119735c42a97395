// Batches: the layout rule, seeking, and errors and shutdown with a thread that reads ahead.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/trainer/data_testing.h"
#include "trainer/data/batch_loader.h"

namespace heddle {
namespace {

using namespace data_testing;

// Tokens 0, 1, 2, ... so that every id tells its position.
class BatchLoaderTest : public testing::Test {
 protected:
  BatchLoaderTest() {
    std::vector<std::int32_t> ids(1000);
    std::iota(ids.begin(), ids.end(), 0);
    ShardWriter writer(folder_ / "a.heddle", 1000, std::string(32, '0'));
    writer.append(ids);
    writer.commit();
    data_ = std::make_unique<TokenDataset>(TokenDataset::open({folder_ / "a.heddle"}));
  }

  Sampler sampler() const { return Sampler(1000, 10, SampleOrder::shuffled, 3); }

  static void expect_samples(const BatchLoader::Batch& batch, const Sampler& sampler, std::int64_t first,
                             std::int64_t count) {
    const std::int64_t length = sampler.context_length();
    ASSERT_EQ(batch.inputs.size(), static_cast<std::size_t>(count * length));
    ASSERT_EQ(batch.targets.size(), batch.inputs.size());
    for (std::int64_t row = 0; row < count; ++row) {
      const std::int64_t position = sampler.sample(first + row).position;
      for (std::int64_t t = 0; t < length; ++t) {
        ASSERT_EQ(batch.inputs[row * length + t], position + t);
        ASSERT_EQ(batch.targets[row * length + t], position + t + 1);
      }
    }
  }

  TemporaryFolder folder_;
  std::unique_ptr<TokenDataset> data_;
};

TEST_F(BatchLoaderTest, RanksTakeContiguousSlicesOfTheStep) {
  for (const auto& [global_batch, ranks] :
       {std::pair(8, 1), std::pair(8, 2), std::pair(8, 4), std::pair(7, 3)}) {
    std::int64_t next = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      BatchLoader loader(*data_, sampler(), {global_batch, rank, ranks});
      EXPECT_EQ(loader.slice().first_sample(), next);
      for (const std::int64_t step : {0, 1, 2, 30}) {
        const BatchLoader::Batch& batch = loader.get(step);
        EXPECT_EQ(batch.step, step);
        expect_samples(batch, sampler(), step * global_batch + next, loader.slice().samples());
      }
      next += loader.slice().samples();
    }
    EXPECT_EQ(next, global_batch);
  }
}

TEST_F(BatchLoaderTest, AnyOrderOfSteps) {
  BatchLoader loader(*data_, sampler(), {4, 0, 1});
  for (const std::int64_t step : {5, 6, 7, 7, 2, 100000, 100001, 0, 1})
    expect_samples(loader.get(step), sampler(), step * 4, 4);
}

TEST_F(BatchLoaderTest, BatchStaysWhileTheNextIsRead) {
  BatchLoader loader(*data_, sampler(), {4, 0, 1});
  const BatchLoader::Batch& batch = loader.get(0);
  for (int i = 0; i < 100; ++i) expect_samples(batch, sampler(), 0, 4);
  loader.get(1);
  loader.get(2);
}

TEST_F(BatchLoaderTest, EndsAtAnyTime) {
  for (int i = 0; i < 50; ++i) {
    BatchLoader loader(*data_, sampler(), {64, 0, 1});
    if (i % 2) loader.get(i);
  }
}

TEST_F(BatchLoaderTest, ErrorsReachTheCallThatWantsTheStep) {
  BatchLoader loader(*data_, sampler(), {90, 0, 1});
  loader.get(0);
  std::filesystem::resize_file(folder_ / "a.heddle", 500);
  // Step 1 may have been read before the file shrank; step 2 is read ahead after it, step 9 on the spot.
  message_of([&] { loader.get(1); });
  for (const std::int64_t step : {2, 9, 2, 3}) {
    EXPECT_NE(message_of([&] { loader.get(step); }).find("a.heddle"), std::string::npos) << step;
  }
}

TEST_F(BatchLoaderTest, RefusesImpossibleSlices) {
  const auto failure = [&](const BatchSlice& slice) {
    return message_of([&] { BatchLoader(*data_, sampler(), slice); });
  };
  EXPECT_NE(failure({2, 0, 3}).find("global batch of 2"), std::string::npos);
  EXPECT_NE(failure({2, 2, 2}), "");
  EXPECT_NE(failure({2, -1, 2}), "");
  EXPECT_NE(failure({0, 0, 1}), "");
}

}  // namespace
}  // namespace heddle
