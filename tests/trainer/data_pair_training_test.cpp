// What the training loop is given: the same batches however they are dealt, what a sample looks like, exact
// counts.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "tests/trainer/data_testing.h"
#include "trainer/data/pair_training_data.h"
#include "trainer/data/prepare_pairs.h"

namespace heddle {
namespace {

using namespace data_testing;

constexpr std::int32_t kEnd = 256;  // of the byte tokenizer

class PairTrainingTest : public testing::Test {
 protected:
  // Pairs whose text tells which they are.
  PairTrainingTest() {
    Random random(4);
    std::string train, validation;
    const auto words = [&] { return std::string(random.below(30), 'x'); };
    for (int i = 0; i < 331; ++i) train += fmt::format("s{}{}\tt{}{}\n", i, words(), i, words());
    for (int i = 0; i < 90; ++i) validation += fmt::format("v{}{}\tw{}{}\n", i, words(), i, words());
    PreparePairsOptions settings;
    settings.files.pairs = {folder_.write("train.tsv", train)};
    settings.validation_files.pairs = {folder_.write("validation.tsv", validation)};
    settings.folder = folder_ / "out";
    settings.tokenizer = "byte";
    const DatasetManifest manifest = prepare_pairs(settings).manifest;
    train_ = std::make_unique<PairDataset>(PairDataset::open(settings.folder, manifest, kTrainSplit));
    validation_ =
        std::make_unique<PairDataset>(PairDataset::open(settings.folder, manifest, kValidationSplit));
    options_.model.context_length = 40;
    options_.train.global_batch = 20;
    options_.train.seed = 3;
  }

  std::unique_ptr<PairTrainingData> data(int ranks = 1, int rank = 0) const {
    return std::make_unique<PairTrainingData>(*train_, validation_.get(), options_, Layout{ranks, 1}, rank);
  }

  // One sample as text, after a check of all that is said about its form.
  static std::string sample_of(const HostBatch& batch, std::int64_t sample) {
    const auto text = [](const std::int32_t* begin, const std::int32_t* end) {
      std::string result;
      for (; begin != end; ++begin) {
        EXPECT_TRUE(*begin >= 0 && *begin < kEnd);
        result += static_cast<char>(*begin);
      }
      return result;
    };
    const BatchShape& shape = batch.shape;
    const std::int32_t* source = batch.source + sample * shape.source_length;
    const std::int32_t* inputs = batch.inputs + sample * shape.length;
    const std::int32_t* targets = batch.targets + sample * shape.length;
    const std::int64_t source_length = batch.source_lengths[sample];
    const std::int64_t length = std::find(targets, targets + shape.length, -1) - targets;
    EXPECT_LE(source_length, shape.source_length);
    for (std::int64_t i = length; i < shape.length; ++i) EXPECT_EQ(targets[i], -1);
    for (std::int64_t i = 0; i < shape.length; ++i) EXPECT_TRUE(inputs[i] >= 0 && inputs[i] <= kEnd);
    for (std::int64_t i = source_length; i < shape.source_length; ++i)
      EXPECT_TRUE(source[i] >= 0 && source[i] <= kEnd);
    EXPECT_EQ(source_length == 0, length == 0);
    if (length == 0) return "";
    EXPECT_EQ(source[source_length - 1], kEnd);
    EXPECT_EQ(targets[length - 1], kEnd);
    EXPECT_EQ(inputs[0], kEnd);
    for (std::int64_t i = 1; i < length; ++i) EXPECT_EQ(inputs[i], targets[i - 1]);
    return text(source, source + source_length - 1) + "|" + text(targets, targets + length - 1);
  }

  // The samples of a batch that count, by their place in the global batch.
  using Samples = std::map<std::int64_t, std::string>;
  static void add(const HostBatch& batch, Samples& samples) {
    EXPECT_EQ(batch.shape.samples % batch.shape.micro_batch, 0);
    for (std::int64_t i = 0; i < batch.shape.samples; ++i) {
      const std::string text = sample_of(batch, i);
      if (text.empty()) continue;
      EXPECT_TRUE(samples.emplace(batch.first_sample + i, text).second);
    }
  }

  // The global batches of some steps, put together from all ranks.
  std::vector<Samples> global_batches(int ranks, const std::vector<std::int64_t>& steps) const {
    std::vector<Samples> result(steps.size());
    std::vector<BatchShape> shapes(steps.size());
    for (int rank = 0; rank < ranks; ++rank) {
      const auto own = data(ranks, rank);
      for (std::size_t i = 0; i < steps.size(); ++i) {
        const HostBatch batch = own->batch(steps[i]);
        if (rank == 0) shapes[i] = batch.shape;
        EXPECT_EQ(batch.shape, shapes[i]) << "all ranks compute the same shape";
        add(batch, result[i]);
        EXPECT_EQ(batch.valid_tokens, own->train_batches().target_tokens(steps[i]));
      }
    }
    return result;
  }

  TemporaryFolder folder_;
  std::unique_ptr<PairDataset> train_, validation_;
  Options options_;
};

TEST_F(PairTrainingTest, EachPairExactlyOnceAnEpoch) {
  const auto own = data();
  const auto steps = static_cast<std::int64_t>(own->periods().steps_per_epoch);
  for (const std::int64_t epoch : {0, 2}) {
    std::map<std::string, int> seen;
    for (std::int64_t i = 0; i < steps; ++i) {
      Samples samples;
      add(own->batch(epoch * steps + i), samples);
      for (const auto& [place, text] : samples) ++seen[text];
    }
    EXPECT_EQ(seen.size(), 331u);
    for (const auto& [text, times] : seen) {
      EXPECT_EQ(times, 1);
      // "s17xx|t17x": the two texts belong together.
      const std::size_t bar = text.find('|');
      EXPECT_EQ(std::stoi(text.substr(1)), std::stoi(text.substr(bar + 2))) << text;
    }
  }
}

TEST_F(PairTrainingTest, BatchesDoNotDependOnHowTheyAreDealt) {
  const std::vector<std::int64_t> steps{0, 1, 2, 16, 17, 40, 3};
  for (const std::int64_t batch_tokens : {0, 400}) {
    options_.train.batch_tokens = batch_tokens;
    options_.train.micro_batch = options_.train.micro_batch_tokens = 0;
    const std::vector<Samples> expected = global_batches(1, steps);
    for (const Samples& samples : expected) {
      ASSERT_FALSE(samples.empty());
      EXPECT_EQ(samples.rbegin()->first, static_cast<std::int64_t>(samples.size()) - 1) << "no gaps";
    }
    for (int ranks = 1; ranks <= 4; ++ranks) {
      for (const std::int64_t micro_batch : {0, 1, 3, 8, 100}) {
        options_.train.micro_batch = micro_batch;
        ASSERT_EQ(global_batches(ranks, steps), expected) << ranks << " ranks, micro-batch " << micro_batch;
      }
      options_.train.micro_batch = 0;
      for (const std::int64_t tokens : {1, 100, 10000}) {
        options_.train.micro_batch_tokens = tokens;
        ASSERT_EQ(global_batches(ranks, steps), expected)
            << ranks << " ranks, micro-batch of " << tokens << " tokens";
      }
      options_.train.micro_batch_tokens = 0;
    }
  }
}

TEST_F(PairTrainingTest, MicroBatchesAreAtMostAsAskedAndFillUpLittle) {
  const auto shapes = [&](int ranks) {
    std::vector<BatchShape> result;
    const auto own = data(ranks, ranks - 1);
    for (std::int64_t step = 0; step < 17; ++step) result.push_back(own->batch(step).shape);
    return result;
  };
  for (const BatchShape& shape : shapes(1)) EXPECT_EQ(shape.micro_batch, shape.samples);
  options_.train.micro_batch = 8;
  for (const BatchShape& shape : shapes(1)) {
    EXPECT_LE(shape.micro_batch, 8);
    EXPECT_TRUE(shape.samples == 11 + 1 || shape.samples == 21) << shape.samples;  // of 11 (the last) and 20
  }
  options_.train.micro_batch = 5;
  for (const BatchShape& shape : shapes(2)) {
    EXPECT_EQ(shape.micro_batch, shape.samples == 6 ? 3 : 5);
    EXPECT_LE(shape.samples, 10);
  }
  options_.train.micro_batch = 0;
  options_.train.micro_batch_tokens = 100;
  for (const BatchShape& shape : shapes(1)) {
    EXPECT_LE(shape.micro_batch * std::max(shape.length, shape.source_length), 100);
    EXPECT_LT(shape.samples - 20, shape.samples / shape.micro_batch);
  }
  options_.train.micro_batch_tokens = 1;
  for (const BatchShape& shape : shapes(1)) EXPECT_EQ(shape.micro_batch, 1);
}

TEST_F(PairTrainingTest, AnyStepMayBeAskedFor) {
  const auto in_order = data(), jumping = data();
  std::vector<Samples> expected(50);
  for (std::int64_t step = 0; step < 50; ++step) add(in_order->batch(step), expected[step]);
  for (const std::int64_t step : {49, 0, 1, 1, 30, 29, 31}) {
    Samples samples;
    add(jumping->batch(step), samples);
    EXPECT_EQ(samples, expected[step]);
  }
}

TEST_F(PairTrainingTest, TokensAreCountedExactly) {
  for (const std::int64_t batch_tokens : {0, 400}) {
    options_.train.batch_tokens = batch_tokens;
    const auto own = data(), jumping = data(2, 1);
    std::vector<std::int64_t> before{0};
    for (std::int64_t step = 0; step < 100; ++step) {
      const HostBatch batch = own->batch(step);
      std::int64_t tokens = 0;
      for (std::int64_t i = 0; i < batch.shape.tokens(); ++i) tokens += batch.targets[i] >= 0;
      EXPECT_EQ(tokens, batch.valid_tokens);
      before.push_back(before.back() + tokens);
      ASSERT_EQ(own->tokens_before(step + 1), before.back());
    }
    for (const std::int64_t step : {100, 0, 55, 54, 17, 18, 90})
      EXPECT_EQ(jumping->tokens_before(step), before[step]);
    const PeriodContext periods = own->periods();
    const auto epoch = static_cast<std::int64_t>(periods.steps_per_epoch);
    EXPECT_EQ(own->tokens_before(epoch), own->train_batches().target_tokens());
    EXPECT_EQ(own->tokens_before(1000000 * epoch + 3), 1000000 * before[epoch] +
                                                           own->tokens_before(1000000 * epoch + 3) -
                                                           own->tokens_before(1000000 * epoch));
    EXPECT_NEAR(static_cast<double>(periods.tokens_per_step),
                static_cast<double>(before[epoch]) / periods.steps_per_epoch, 0.51);
  }
}

TEST_F(PairTrainingTest, MeanLengthsAreThoseOfThePairs) {
  std::int64_t source = 0, target = 0;
  for (const PairLength& length : train_->lengths()) {
    source += length.source;
    target += length.target;
  }
  EXPECT_DOUBLE_EQ(data()->mean_lengths().source_length, static_cast<double>(source) / 331);
  EXPECT_DOUBLE_EQ(data()->mean_lengths().length, static_cast<double>(target) / 331);
}

TEST_F(PairTrainingTest, LargestShapesBoundAllOthers) {
  for (const std::int64_t micro_batch_tokens : {0, 90}) {
    for (const std::int64_t batch_tokens : {0, 400}) {
      options_.train.batch_tokens = batch_tokens;
      options_.train.micro_batch_tokens = micro_batch_tokens;
      const auto own = data(3, 2);
      const std::vector<BatchShape> largest = own->largest_shapes();
      const auto fits = [](const BatchShape& a, const BatchShape& b) {
        return a.samples <= b.samples && a.micro_batch <= b.micro_batch && a.length <= b.length &&
               a.source_length <= b.source_length;
      };
      const auto check = [&](const HostBatch& batch) {
        EXPECT_TRUE(
            std::any_of(largest.begin(), largest.end(), [&](auto& l) { return fits(batch.shape, l); }));
      };
      for (std::int64_t step = 0; step < 60; ++step) check(own->batch(step));
      own->validate(0, check);
      // None is there for nothing.
      for (const BatchShape& a : largest) {
        for (const BatchShape& b : largest) EXPECT_TRUE(a == b || !fits(a, b));
      }
    }
  }
}

TEST_F(PairTrainingTest, ValidationIsAllOfTheHeldBackPairsOnce) {
  for (int ranks = 1; ranks <= 4; ++ranks) {
    std::map<std::string, int> seen;
    std::int64_t tokens = 0, expected_tokens = 0;
    for (const PairLength& length : validation_->lengths()) expected_tokens += length.target;
    std::vector<BatchShape> first_shapes;
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<BatchShape> shapes;
      data(ranks, rank)->validate(0, [&](const HostBatch& batch) {
        Samples samples;
        add(batch, samples);
        std::int64_t own = 0;
        for (const auto& [place, text] : samples) {
          ++seen[text];
          own += static_cast<std::int64_t>(text.size() - text.find('|'));
        }
        EXPECT_EQ(batch.valid_tokens, own);
        tokens += own;
        shapes.push_back(batch.shape);
      });
      if (rank == 0) first_shapes = shapes;
      EXPECT_EQ(shapes, first_shapes);
      EXPECT_EQ(shapes.size(), 5u);
    }
    EXPECT_EQ(tokens, expected_tokens);
    EXPECT_EQ(seen.size(), 90u);
    for (const auto& [text, times] : seen) EXPECT_TRUE(times == 1 && text[0] == 'v') << text;
  }
}

TEST_F(PairTrainingTest, LimitedValidationIsEvenlySpread) {
  options_.train.global_batch = 9;  // ten batches
  const auto own = data();
  const auto lengths = [&](std::int64_t batches) {
    std::vector<std::string> result;
    own->validate(batches, [&](const HostBatch& batch) { result.push_back(sample_of(batch, 0)); });
    return result;
  };
  const std::vector<std::string> all = lengths(0);
  ASSERT_EQ(all.size(), 10u);
  EXPECT_EQ(lengths(10), all);
  EXPECT_EQ(lengths(1000), all);
  EXPECT_EQ(lengths(5), (std::vector<std::string>{all[0], all[2], all[4], all[6], all[8]}));
  EXPECT_EQ(lengths(3), (std::vector<std::string>{all[0], all[3], all[6]}));
  EXPECT_EQ(lengths(1), (std::vector<std::string>{all[0]}));
}

TEST_F(PairTrainingTest, WithoutValidation) {
  PairTrainingData own(*train_, nullptr, options_, Layout{1, 1}, 0);
  EXPECT_FALSE(own.has_validation());
  own.validate(0, [](const HostBatch&) { ADD_FAILURE(); });
  EXPECT_FALSE(own.largest_shapes().empty());
  EXPECT_TRUE(data()->has_validation());
}

TEST_F(PairTrainingTest, TooLongPairsAreTold) {
  EXPECT_TRUE(data()->remarks().empty());
  options_.model.context_length = 20;
  const auto own = data();
  const auto too_long = [](const PairDataset& pairs) {
    return std::count_if(pairs.lengths().begin(), pairs.lengths().end(),
                         [](const PairLength& l) { return l.source > 20 || l.target > 20; });
  };
  EXPECT_EQ(own->remarks(),
            (std::vector<std::string>{
                fmt::format("{} of 331 training pairs are longer than context_length = 20 and are left out",
                            too_long(*train_)),
                fmt::format("{} of 90 validation pairs are longer than context_length = 20 and are left out",
                            too_long(*validation_))}));
  for (std::int64_t step = 0; step < 20; ++step) {
    const HostBatch batch = own->batch(step);
    EXPECT_LE(std::max(batch.shape.length, batch.shape.source_length), 20);
  }
}

TEST_F(PairTrainingTest, RefusesWhatCannotWork) {
  const auto failure = [&](int ranks, int rank) { return message_of([&] { data(ranks, rank); }); };
  EXPECT_EQ(failure(20, 19), "");
  EXPECT_NE(failure(21, 0).find("global batch of 20"), std::string::npos);
  EXPECT_NE(failure(2, 2).find("data rank 2 of 2"), std::string::npos);
  options_.train.batch_tokens = 100;
  EXPECT_EQ(failure(21, 0), "");
  options_.model.context_length = 2;
  EXPECT_NE(failure(1, 0).find("all 331 pairs are longer"), std::string::npos);
}

TEST_F(PairTrainingTest, ErrorsOfReadingAheadReachTheCaller) {
  const auto own = data();
  own->batch(0);
  std::filesystem::resize_file(folder_ / "out/train-source-00000.heddle", 200);
  message_of([&] { own->batch(1); });  // may have been read before
  EXPECT_NE(message_of([&] { own->batch(2); }).find("train-source-00000.heddle"), std::string::npos);
  EXPECT_NE(message_of([&] { own->batch(9); }).find("train-source-00000.heddle"), std::string::npos);
}

}  // namespace
}  // namespace heddle
