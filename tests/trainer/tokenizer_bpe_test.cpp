// Byte-level BPE: the encoder against known ids and against a naive one, round trips, and the files it is
// kept in.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/trainer/data_testing.h"
#include "trainer/data/parallel_for.h"
#include "trainer/data/tokenizers/bpe_tokenizer.h"
#include "trainer/data/tokenizers/bpe_trainer.h"
#include "trainer/data/tokenizers/byte_level.h"

namespace heddle {
namespace {

using namespace data_testing;

// A model with the 256 bytes as ids 0..255 and the given merges, each a pair of strings of ids known so far.
BpeModel model_with_merges(const std::vector<std::pair<std::string, std::string>>& merges) {
  BpeModel model;
  std::map<std::string, std::int32_t> ids;
  for (int byte = 0; byte < 256; ++byte) {
    model.tokens.emplace_back(1, static_cast<char>(byte));
    ids[model.tokens.back()] = byte;
  }
  for (const auto& [left, right] : merges) {
    const auto [place, is_new] = ids.emplace(left + right, static_cast<std::int32_t>(model.tokens.size()));
    if (is_new) model.tokens.push_back(left + right);
    model.merges.push_back({ids.at(left), ids.at(right), place->second});
  }
  return model;
}

std::vector<std::string> split(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::string> pieces;
  for (const std::int32_t id : tokenizer.encode(text)) pieces.emplace_back(tokenizer.token_bytes(id));
  return pieces;
}

using Strings = std::vector<std::string>;

TEST(ByteLevel, AlphabetIsThatOfGpt2) {
  EXPECT_EQ(to_byte_level(" \nA"),
            "\xC4\xA0\xC4\x8A"
            "A");  // U+0120, U+010A
  EXPECT_EQ(to_byte_level(std::string("\0\xAD\xFF", 3)), "\xC4\x80\xC5\x83\xC3\xBF");
  std::string all, back;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_TRUE(from_byte_level(to_byte_level(all), back));
  EXPECT_EQ(back, all);
  EXPECT_FALSE(from_byte_level(" ", back));
  EXPECT_FALSE(from_byte_level("\xE4\xB8\xAD", back));
  EXPECT_FALSE(from_byte_level("\xC4", back));
  EXPECT_EQ(byte_level_order()[0], '!');
  EXPECT_EQ(byte_level_order()[188], 0);
  EXPECT_EQ(byte_level_order()[220], ' ');  // GPT-2's id of the space
}

TEST(PreTokenizer, SplitsLikeGpt2) {
  const BpeTokenizer bytes(model_with_merges({}), "test");
  const PreTokenizer pre_tokenizer(std::string(kGpt2Pattern), "test");
  const auto words = [&](const std::string& text) {
    PreTokenizer::Words stream(pre_tokenizer, text);
    Strings result;
    std::string_view word;
    while (stream.next(word)) result.emplace_back(word);
    return result;
  };
  EXPECT_EQ(words(""), Strings{});
  EXPECT_EQ(words("Hello  world's 12ab!?"), (Strings{"Hello", " ", " world", "'s", " 12", "ab", "!?"}));
  EXPECT_EQ(words("a \n\n b  "), (Strings{"a", " \n\n", " b", "  "}));
  EXPECT_EQ(words("\xC3\xA9t\xC3\xA9 \xE4\xB8\xAD"), (Strings{"\xC3\xA9t\xC3\xA9", " \xE4\xB8\xAD"}));
  // U+0085 is white space, U+200B and U+FEFF are not.
  EXPECT_EQ(words("a\xC2\x85"
                  "b"),
            (Strings{"a", "\xC2\x85", "b"}));
  EXPECT_EQ(words("\xE2\x80\x8B!"), (Strings{"\xE2\x80\x8B!"}));
  // Bytes that are not UTF-8 are words of their own.
  EXPECT_EQ(words("ab\xFF\xC3 c\xE2\x80"), (Strings{"ab", "\xFF\xC3", " c", "\xE2\x80"}));
}

TEST(BpeTokenizer, MergesTheEarliestLearntPairFirst) {
  const BpeTokenizer tokenizer(model_with_merges({{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"a", "a"}}), "test");
  EXPECT_EQ(split(tokenizer, "abc"), (Strings{"abc"}));
  EXPECT_EQ(split(tokenizer, "abab"), (Strings{"ab", "ab"}));
  EXPECT_EQ(split(tokenizer, "aaaaa"), (Strings{"aa", "aa", "a"}));
  EXPECT_EQ(split(tokenizer, "abcx abc"), (Strings{"abc", "x", " ", "abc"}));
}

// The definition, in its plainest form: quadratic.
std::vector<std::int32_t> naive_merge(const BpeModel& model, std::vector<std::int32_t> ids) {
  while (true) {
    std::size_t best_rank = model.merges.size(), best_place = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (model.merges[rank].left == ids[i] && model.merges[rank].right == ids[i + 1]) {
          best_rank = rank;
          best_place = i;
        }
      }
    }
    if (best_rank == model.merges.size()) return ids;
    ids[best_place] = model.merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_place) + 1);
  }
}

TEST(BpeTokenizer, EqualsNaiveMergingOnRandomWords) {
  Random random(1);
  // Merges in an order in which later ones can come before those that they are made of.
  std::vector<std::pair<std::string, std::string>> merges{{"a", "b"},  {"b", "a"},   {"a", "a"},
                                                          {"ab", "a"}, {"b", "ba"},  {"aa", "b"},
                                                          {"ba", "b"}, {"ab", "ab"}, {"a", "ab"}};
  BpeModel model = model_with_merges(merges);
  std::reverse(model.merges.begin() + 3, model.merges.end());
  const BpeTokenizer tokenizer(model, "test");
  for (int round = 0; round < 500; ++round) {
    std::string word;
    const std::size_t length = random.below(round < 450 ? 12 : 200);
    for (std::size_t i = 0; i < length; ++i) word += static_cast<char>('a' + random.below(3));
    const std::vector<std::int32_t> bytes(word.begin(), word.end());
    ASSERT_EQ(tokenizer.encode(word), naive_merge(model, bytes)) << word;
    ASSERT_EQ(tokenizer.encode(word), naive_merge(model, bytes)) << word << " from the cache";
  }
}

TEST(BpeTokenizer, LongWordIsNotQuadratic) {
  const BpeTokenizer tokenizer(model_with_merges({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}), "test");
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'a')).size(), std::size_t{1} << 17);
}

TEST(BpeTokenizer, RandomBytesSurvive) {
  BpeTrainer trainer({.vocabulary_size = 400});
  trainer.add(
      "the cat and the hat and the bat \xC3\xA9\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xE4\xB8\xAD\xE6\x96\x87");
  const BpeTokenizer tokenizer(trainer.train(), "test");
  Random random(2);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    const std::size_t length = random.below(200);
    for (std::size_t i = 0; i < length; ++i) {
      // Bytes of all kinds, with enough of those that make and break UTF-8.
      text += static_cast<char>(random.below(3) == 0 ? 0xC0 + random.below(64) : random.below(256));
    }
    const std::vector<std::int32_t> ids = tokenizer.encode(text);
    ASSERT_EQ(tokenizer.decode(ids), text);
    ASSERT_EQ(std::count(ids.begin(), ids.end(), *tokenizer.end_of_text()), 0);
  }
}

TEST(BpeTokenizer, SpecialTokensAreNotRecognisedInText) {
  BpeTrainer trainer({.vocabulary_size = 300});
  trainer.add("some text");
  const BpeTokenizer tokenizer(trainer.train(), "test");
  const std::vector<std::int32_t> ids = tokenizer.encode("<|endoftext|>");
  EXPECT_GT(ids.size(), 1u);
  EXPECT_EQ(tokenizer.decode(ids), "<|endoftext|>");
  EXPECT_EQ(tokenizer.token_bytes(*tokenizer.end_of_text()), "<|endoftext|>");
  EXPECT_EQ(token_byte_lengths(tokenizer)[*tokenizer.end_of_text()], 0);
  EXPECT_EQ(token_byte_lengths(tokenizer)[0], 1);
}

TEST(BpeTokenizer, EncodesOnSeveralThreads) {
  const BpeTokenizer tokenizer(model_with_merges({{"a", "b"}, {"ab", "ab"}}), "test");
  std::vector<std::vector<std::int32_t>> results(64);
  const auto text = [](std::int64_t i) {
    std::string result;
    for (std::int64_t k = 0; k < 200; ++k)
      result += std::string(static_cast<std::size_t>((i * k) % 7), 'a') + "bab ";
    return result;
  };
  parallel_for(64, 4, [&](std::int64_t i, int) { results[i] = tokenizer.encode(text(i)); });
  for (int i = 0; i < 64; ++i) EXPECT_EQ(results[i], BpeTokenizer(tokenizer.model(), "test").encode(text(i)));
}

TEST(BpeTokenizer, RefusesModelsThatMakeNoSense) {
  const auto message = [](const BpeModel& model) {
    return message_of([&] { BpeTokenizer(model, "some.json"); });
  };
  BpeModel model = model_with_merges({{"a", "b"}});
  EXPECT_EQ(message(model), "");
  model.tokens['x'] = "y";
  EXPECT_NE(message(model).find("some.json: the byte 0x78"), std::string::npos);
  model = model_with_merges({{"a", "b"}});
  model.merges[0].result = 'c';
  EXPECT_NE(message(model).find("merge 0"), std::string::npos);
  model.merges[0].result = 999;
  EXPECT_NE(message(model).find("names token 999"), std::string::npos);
  model = model_with_merges({{"a", "b"}});
  model.merges.push_back(model.merges[0]);
  EXPECT_NE(message(model).find("twice"), std::string::npos);
  model = model_with_merges({});
  model.end_of_text = 7;
  EXPECT_NE(message(model).find("end-of-text"), std::string::npos);
  model = model_with_merges({});
  model.pattern = "a(b";
  EXPECT_NE(message(model).find("expression"), std::string::npos);
}

TEST(BpeTokenizer, RefusesIdsOutsideTheVocabulary) {
  const BpeTokenizer tokenizer(model_with_merges({}), "test");
  EXPECT_NE(message_of([&] { tokenizer.token_bytes(256); }).find("256"), std::string::npos);
  EXPECT_NE(message_of([&] { tokenizer.token_bytes(-1); }), "");
}

TEST(BpeTokenizer, AddedTokensAreMatchedLongestFirst) {
  BpeModel model = model_with_merges({{"a", "b"}});
  for (const char* content : {"<x>", "<x>y", "  "}) {
    model.added.push_back(static_cast<std::int32_t>(model.tokens.size()));
    model.tokens.emplace_back(content);
  }
  const BpeTokenizer tokenizer(model, "test");
  EXPECT_EQ(split(tokenizer, "ab<x>y<x>ab   z"), (Strings{"ab", "<x>y", "<x>", "ab", "  ", " ", "z"}));
  EXPECT_FALSE(tokenizer.works_on_pieces());
}

class Gpt2 : public testing::Test {
 protected:
  static const Tokenizer& tokenizer(const std::string& folder) {
    static const std::unique_ptr<Tokenizer> loaded = load_tokenizer(folder);
    return *loaded;
  }
};

TEST_F(Gpt2, EqualsAllGoldenPairs) {
  HEDDLE_SHARED_DATA_OR_SKIP(folder, "gpt2-bpe");
  const Tokenizer& gpt2 = tokenizer(folder);
  EXPECT_EQ(gpt2.vocabulary_size(), 50257);
  EXPECT_EQ(gpt2.end_of_text(), 50256);
  std::ifstream golden(folder + "/golden.jsonl");
  std::string line;
  int pairs = 0;
  while (std::getline(golden, line)) {
    const nlohmann::json pair = nlohmann::json::parse(line);
    const std::string text = pair["text"];
    const std::vector<std::int32_t> ids = pair["ids"];
    EXPECT_EQ(gpt2.encode(text), ids) << line;
    EXPECT_EQ(gpt2.decode(ids), text);
    ++pairs;
  }
  EXPECT_GE(pairs, 398);
}

TEST_F(Gpt2, TokenizerJsonIsTheSameTokenizer) {
  HEDDLE_SHARED_DATA_OR_SKIP(folder, "gpt2-bpe");
  const Tokenizer& gpt2 = tokenizer(folder);
  const TemporaryFolder temporary;
  save_tokenizer(gpt2, temporary / "tokenizer.json");
  const std::unique_ptr<Tokenizer> again = load_tokenizer(temporary.path());
  EXPECT_EQ(again->hash(), gpt2.hash());
  EXPECT_EQ(again->serialize(), gpt2.serialize());
  EXPECT_EQ(again->encode(" Hello world"), gpt2.encode(" Hello world"));
}

}  // namespace
}  // namespace heddle
