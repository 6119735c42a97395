// The BPE trainer against the plainest possible one, and its promises: the same result on any number of
// threads.
#include <gtest/gtest.h>

#include <map>

#include "tests/trainer/data_testing.h"
#include "trainer/data/tokenizers/bpe_trainer.h"
#include "trainer/data/tokenizers/byte_level.h"

namespace heddle {
namespace {

using namespace data_testing;

// Counts all pairs anew before each merge. Returns the merges as pairs of byte strings.
std::vector<std::pair<std::string, std::string>> brute_force(const std::vector<std::string>& words,
                                                             std::size_t vocabulary,
                                                             std::int64_t minimum_count) {
  std::vector<std::string> tokens;
  std::map<std::string, int> id_of;
  for (const std::uint8_t byte : byte_level_order()) {
    id_of[std::string(1, static_cast<char>(byte))] = static_cast<int>(tokens.size());
    tokens.emplace_back(1, static_cast<char>(byte));
  }
  std::vector<std::vector<int>> split;
  for (const std::string& word : words) {
    split.emplace_back();
    for (const char byte : word) split.back().push_back(id_of[std::string(1, byte)]);
  }
  std::vector<std::pair<std::string, std::string>> merges;
  while (tokens.size() < vocabulary) {
    std::map<std::pair<int, int>, std::int64_t> counts;
    for (const auto& word : split) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    }
    std::pair<int, int> best;
    std::int64_t best_count = 0;
    for (const auto& [pair, count] : counts) {  // in the order of ids, so the first of equals is the smallest
      if (count > best_count) std::tie(best, best_count) = std::pair(pair, count);
    }
    if (best_count < minimum_count) break;
    const std::string joined = tokens[best.first] + tokens[best.second];
    const auto [place, is_new] = id_of.emplace(joined, static_cast<int>(tokens.size()));
    if (is_new) tokens.push_back(joined);
    const std::pair named(tokens[best.first], tokens[best.second]);
    if (std::find(merges.begin(), merges.end(), named) == merges.end()) merges.push_back(named);
    for (auto& word : split) {
      std::vector<int> merged;
      for (std::size_t i = 0; i < word.size(); ++i) {
        const bool here = i + 1 < word.size() && word[i] == best.first && word[i + 1] == best.second;
        merged.push_back(here ? place->second : word[i]);
        i += here;
      }
      word = merged;
    }
  }
  return merges;
}

std::vector<std::pair<std::string, std::string>> named_merges(const BpeModel& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const BpeMerge& merge : model.merges) {
    EXPECT_EQ(model.tokens[merge.left] + model.tokens[merge.right], model.tokens[merge.result]);
    merges.emplace_back(model.tokens[merge.left], model.tokens[merge.right]);
  }
  return merges;
}

// Words of few letters with many repetitions, so that pairs overlap and tie.
std::string random_text(std::uint64_t seed, int words, int letters) {
  Random random(seed);
  std::string text;
  for (int i = 0; i < words; ++i) {
    const std::uint64_t length = 1 + random.below(i % 10 == 0 ? 30 : 6);
    for (std::uint64_t k = 0; k < length; ++k) text += static_cast<char>('a' + random.below(letters));
    text += i % 7 == 0 ? "\n" : " ";
  }
  return text;
}

TEST(BpeTrainer, EqualsBruteForce) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    const std::string text = random_text(seed, 120, seed % 2 ? 2 : 4);
    std::vector<std::string> words;
    const PreTokenizer pre_tokenizer(std::string(kGpt2Pattern), "test");
    PreTokenizer::Words stream(pre_tokenizer, text);
    for (std::string_view word; stream.next(word);) words.emplace_back(word);
    for (const std::int64_t minimum_count : {1, 2, 5}) {
      BpeTrainer trainer(
          {.vocabulary_size = 256 + 150, .minimum_count = minimum_count, .end_of_text = false});
      trainer.add(text);
      EXPECT_EQ(named_merges(trainer.train()), brute_force(words, 256 + 150, minimum_count))
          << "seed " << seed;
    }
  }
}

TEST(BpeTrainer, DoesNotDependOnThreadsNorOnTheOrderOfTexts) {
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(random_text(100 + i, 50, 5));
  const auto merges = [&](int threads) {
    BpeTrainer trainer({.vocabulary_size = 700, .threads = threads});
    trainer.add(texts);
    return named_merges(trainer.train());
  };
  const auto one = merges(1);
  EXPECT_GT(one.size(), 300u);
  EXPECT_EQ(merges(3), one);
  std::reverse(texts.begin(), texts.end());
  EXPECT_EQ(merges(8), one);
}

TEST(BpeTrainer, TiesGoToTheSmallestIds) {
  BpeTrainer trainer({.vocabulary_size = 259, .end_of_text = false});
  trainer.add("zy zy ba ba cd cd");
  // All of zy, ba, cd and " z", " b", " c" are there twice but " z", which is there once: b < c < z.
  const auto merges = named_merges(trainer.train());
  ASSERT_EQ(merges.size(), 3u);
  EXPECT_EQ(merges[0], std::pair(std::string("b"), std::string("a")));
}

TEST(BpeTrainer, StopsWhenNothingIsFrequentEnough) {
  BpeTrainer trainer({.vocabulary_size = 1000});
  trainer.add("abcd");
  const BpeModel model = trainer.train();
  EXPECT_EQ(model.tokens.size(), 257u);
  EXPECT_EQ(model.end_of_text, 256);
  const BpeModel empty = BpeTrainer({.vocabulary_size = 1000}).train();
  EXPECT_EQ(empty.tokens.size(), 257u);
}

TEST(BpeTrainer, LearntTokenizerEncodesItsTextAndIsSavedWhole) {
  BpeTrainer trainer({.vocabulary_size = 500});
  const std::string text = random_text(9, 400, 6);
  trainer.add(text);
  const BpeTokenizer tokenizer(trainer.train(), "test");
  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  EXPECT_LT(ids.size(), text.size() / 2);
  EXPECT_EQ(tokenizer.decode(ids), text);
  const TemporaryFolder folder;
  save_tokenizer(tokenizer, folder / "tokenizer.json");
  const auto again = load_tokenizer(folder / "tokenizer.json");
  EXPECT_EQ(again->encode(text), ids);
  EXPECT_EQ(again->hash(), tokenizer.hash());
  EXPECT_EQ(again->end_of_text(), tokenizer.end_of_text());
}

TEST(BpeTrainer, RefusesImpossibleVocabularies) {
  EXPECT_NE(message_of([] { BpeTrainer({.vocabulary_size = 256}); }).find("257"), std::string::npos);
  EXPECT_EQ(message_of([] { BpeTrainer({.vocabulary_size = 256, .end_of_text = false}); }), "");
  EXPECT_NE(message_of([] { BpeTrainer({.vocabulary_size = -5}); }), "");
}

}  // namespace
}  // namespace heddle
