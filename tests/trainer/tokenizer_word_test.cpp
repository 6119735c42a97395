// Words as tokens: where text is split and how it is put together again, the vocabulary, and the file it is
// kept in.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/trainer/data_testing.h"
#include "trainer/data/line_reader.h"
#include "trainer/data/tokenizers/word_tokenizer.h"
#include "trainer/data/tokenizers/word_trainer.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

using namespace data_testing;
using Strings = std::vector<std::string>;

Strings words_of(const std::string& text, bool lowercase = false) {
  Strings words;
  WordSplitter(lowercase).for_each_word(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

std::string spaced(const std::string& text) {
  return fmt::format("{}", fmt::join(words_of(text), " "));
}

std::string joined(const Strings& words) {
  return join_words(std::vector<std::string_view>(words.begin(), words.end()));
}

TEST(WordSplitter, SplitsAsWordModelsDo) {
  EXPECT_EQ(spaced("Two young, White males are outside."), "Two young , White males are outside .");
  EXPECT_EQ(spaced("a t-shirt and a black-and-white dog"), "a t - shirt and a black - and - white dog");
  EXPECT_EQ(spaced("Ein Mann im T-Shirt, mit MP3-Player."), "Ein Mann im T-Shirt , mit MP3-Player .");
  EXPECT_EQ(spaced("the dog's owner isn't here; we'll see"), "the dog 's owner is n't here ; we 'll see");
  EXPECT_EQ(spaced("the dog’s owner can’t"), "the dog ’s owner ca n’t");
  EXPECT_EQ(spaced("DON'T at 5 o'clock"), "DO N'T at 5 o'clock");
  EXPECT_EQ(spaced("the boys' toys 'so'"), "the boys ' toys ' so '");
  EXPECT_EQ(spaced("L'homme qu'il voit aujourd'hui d’eau"), "L' homme qu' il voit aujourd'hui d’ eau");
  EXPECT_EQ(spaced("1,000.5 km at 10:30, 3.5% of 5-6"), "1,000.5 km at 10:30 , 3.5 % of 5 - 6");
  EXPECT_EQ(spaced("the U.S. team... wow!!"), "the U.S. team ... wow ! !");
  EXPECT_EQ(spaced("„Straße“ (links)/\"rechts\""), "„ Straße “ ( links ) / \" rechts \"");
  EXPECT_EQ(spaced("  a\t\nb\u00A0c\u2028d\r\n"), "a b c d");
  EXPECT_EQ(spaced("a<unk></s>b"), "a < unk > < / s > b");
  EXPECT_EQ(spaced("e\u0301te\u0301 中文 😀!"), "e\u0301te\u0301 中文 😀 !");
  EXPECT_EQ(words_of(""), Strings{});
  EXPECT_EQ(words_of(" \n"), Strings{});
}

TEST(WordSplitter, LowerCaseDoesNotMoveBounds) {
  EXPECT_EQ(words_of("Ein T-Shirt in MÜNCHEN", true), (Strings{"ein", "t-shirt", "in", "münchen"}));
  EXPECT_EQ(words_of("ΟΔΟΣ Isn't", true), (Strings{"οδος", "is", "n't"}));
}

TEST(WordSplitter, RefusesWhatIsNotUtf8) {
  EXPECT_NE(message_of([] { words_of("caf\xE9!"); }).find("byte 3 of the text is not UTF-8"),
            std::string::npos);
}

std::string random_text(Random& random, std::size_t pieces) {
  static const Strings kPieces{"a",      "Bc", "n't", "'s", "'",      "’",      "-",    ".", ",",
                               "\"",     " ",  " ",   "\n", "12",     "d'",     "U.",   "(", ")",
                               "\u0301", "中", "😀",   "é",  "\u00A0", "\u180E", "\x7F", "ß"};
  std::string text;
  for (std::size_t i = 0; i < pieces; ++i) text += kPieces[random.below(kPieces.size())];
  return text;
}

TEST(WordSplitter, LosesNothingButWhiteSpace) {
  Random random(1);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = random_text(random, 1 + random.below(30));
    std::string expected, found;
    for (std::size_t position = 0; position < text.size();) {
      const std::size_t start = position;
      if (!is_white_space(next_code_point(text, position))) expected += text.substr(start, position - start);
    }
    for (const std::string& word : words_of(text)) found += word;
    ASSERT_EQ(found, expected) << escape_for_display(text);
  }
}

TEST(WordSplitter, LongWordsTakeLinearTime) {
  EXPECT_EQ(words_of(std::string(5000000, 'a')).size(), 1u);
  EXPECT_EQ(words_of(std::string(1000000, '\'')).size(), 1000000u);
}

TEST(JoinWords, PutsBlanksWhereTheyBelong) {
  EXPECT_EQ(joined({"two", "dogs", ",", "one", "cat", "."}), "two dogs, one cat.");
  EXPECT_EQ(joined({"a", "t", "-", "shirt", "(", "red", ")", "!"}), "a t-shirt (red)!");
  EXPECT_EQ(joined({"the", "dog", "'s", "owner", "is", "n't", "...", "here"}),
            "the dog's owner isn't... here");
  EXPECT_EQ(joined({"the", "boys", "'", "toys"}), "the boys' toys");
  EXPECT_EQ(joined({"l'", "eau", "d’", "or"}), "l'eau d’or");
  EXPECT_EQ(joined({"a", "\"", "stop", "\"", "sign", "\"", "x", "\""}), "a \"stop\" sign \"x\"");
  EXPECT_EQ(joined({"ein", "„", "Wort", "“", "und", "a", "“", "word", "”", "."}), "ein „Wort“ und a “word”.");
  EXPECT_EQ(joined({"$", "5", "or", "50", "%"}), "$5 or 50%");
  EXPECT_EQ(joined({}), "");
}

TEST(JoinWords, WhatComesNextChangesNothingBefore) {
  Random random(4);
  for (int round = 0; round < 300; ++round) {
    Strings words = words_of(random_text(random, 30));
    std::string before;
    for (std::size_t count = 0; count <= words.size(); ++count) {
      const std::string text = joined(Strings(words.begin(), words.begin() + count));
      ASSERT_TRUE(text.starts_with(before)) << text;
      before = text;
    }
  }
}

WordModel learn(const Strings& texts, WordTrainerOptions options = {}) {
  WordTrainer trainer(options);
  trainer.add(texts);
  return trainer.train();
}

TEST(WordTrainer, OrdersByCountThenBytes) {
  const Strings texts{"b a c c", "c a b, d"};
  EXPECT_EQ(learn(texts).words, (Strings{"c", "a", "b"}));
  EXPECT_EQ(learn(texts, {.minimum_count = 1}).words, (Strings{"c", "a", "b", ",", "d"}));
  EXPECT_EQ(learn(texts, {.minimum_count = 3}).words, Strings{"c"});
  EXPECT_EQ(learn({"A a B b"}, {.lowercase = true}).words, (Strings{"a", "b"}));
  EXPECT_NE(message_of([&] { learn(texts, {.minimum_count = 4}); }).find("--word-minimum-count"),
            std::string::npos);
  EXPECT_NE(message_of([&] { learn({}); }), "");
  EXPECT_NE(message_of([&] { learn({"fine", "\xFF"}); }).find("UTF-8"), std::string::npos);
}

TEST(WordTrainer, ResultDependsOnTheTextAlone) {
  Random random(9);
  Strings texts;
  for (int i = 0; i < 300; ++i) texts.push_back(random_text(random, 60));
  const Strings words = learn(texts, {.threads = 1}).words;
  EXPECT_GT(words.size(), 20u);
  std::reverse(texts.begin(), texts.end());
  WordTrainer trainer({.threads = 3});
  for (std::size_t i = 0; i < texts.size(); i += 50)
    trainer.add(std::span(texts).subspan(i, std::min<std::size_t>(50, texts.size() - i)));
  EXPECT_EQ(trainer.train().words, words);
}

TEST(WordTokenizer, UnknownWordsAreOneId) {
  const WordTokenizer tokenizer({.words = {"a", "dog", "."}, .lowercase = true}, "test");
  EXPECT_EQ(tokenizer.vocabulary_size(), 5);
  EXPECT_EQ(tokenizer.end_of_text(), 1);
  EXPECT_EQ(tokenizer.encode("A cat, a DOG."), (std::vector<std::int32_t>{2, 0, 0, 2, 3, 4}));
  EXPECT_EQ(tokenizer.encode("</s>"), (std::vector<std::int32_t>{0, 0, 0, 0}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("A cat, a DOG.")), "a <unk> <unk> a dog.");
  EXPECT_EQ(tokenizer.spaced_words(tokenizer.encode("A cat, a DOG.")), "a <unk> <unk> a dog .");
  EXPECT_EQ(tokenizer.spaced_words("A cat, a DOG."), "a cat , a dog .");
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(0));  // encode() gives it
  EXPECT_FALSE(tokenizer.keeps_text());
  EXPECT_TRUE(token_byte_lengths(tokenizer).empty());
  EXPECT_EQ(tokenizer.token_bytes(1), "</s>");
  EXPECT_NE(message_of([&] { tokenizer.token_bytes(5); }), "");
  EXPECT_NE(message_of([&] { tokenizer.encode("\xFF"); }).find("UTF-8"), std::string::npos);
}

TEST(WordTokenizer, SurvivesItsFile) {
  const TemporaryFolder folder;
  const WordTokenizer tokenizer({.words = {"Straße", "a\"b\\c", "中"}, .lowercase = false}, "test");
  save_tokenizer(tokenizer, folder / "tokenizer.json");
  const auto loaded = load_tokenizer(folder / "tokenizer.json");
  EXPECT_EQ(loaded->kind(), "word");
  EXPECT_EQ(loaded->hash(), tokenizer.hash());
  EXPECT_EQ(loaded->serialize(), tokenizer.serialize());
  EXPECT_EQ(loaded->encode("中 Straße"), (std::vector<std::int32_t>{4, 2}));
  const auto hash = [](WordModel model) { return WordTokenizer(std::move(model), "test").hash(); };
  EXPECT_NE(hash({.words = {"a", "b"}}), hash({.words = {"b", "a"}}));
  EXPECT_NE(hash({.words = {"a", "b"}}), hash({.words = {"a", "b"}, .lowercase = true}));
  EXPECT_EQ(hash({.words = {"a", "b"}}), hash({.words = {"a", "b"}}));
}

TEST(WordTokenizer, RefusesFilesThatCannotBe) {
  const TemporaryFolder folder;
  const auto failure = [&](const std::string& rest) {
    const std::string path = folder.write("tokenizer.json", "{\"heddle_tokenizer\": \"word\", " + rest + "}");
    return message_of([&] { load_tokenizer(path); });
  };
  const std::string head = "\"version\": 1, \"lowercase\": false, ";
  EXPECT_EQ(failure(head + "\"words\": [\"a\", \"b\"]"), "");
  EXPECT_EQ(failure(head + "\"words\": []"), "");
  for (const char* bad : {"\"a\", \"a\"", "\"\"", "\"a b\"", "\"a\\u00A0\"", "\"\\n\"", "\"<unk>\"",
                          "\"</s>\"", "1", "null", "[\"a\"]"}) {
    const std::string message = failure(head + "\"words\": [" + bad + "]");
    EXPECT_NE(message.find("tokenizer.json: "), std::string::npos) << bad << ": " << message;
  }
  EXPECT_NE(failure(head + "\"words\": {\"a\": 1}").find("not a list"), std::string::npos);
  EXPECT_NE(failure(head + "\"word\": []").find("\"words\" is missing"), std::string::npos);
  EXPECT_NE(failure("\"version\": 2, \"lowercase\": false, \"words\": []").find("version"),
            std::string::npos);
  EXPECT_NE(failure("\"version\": 1, \"lowercase\": 1, \"words\": []").find("lowercase"), std::string::npos);
  EXPECT_NE(failure("\"version\": 1, \"words\": []").find("lowercase"), std::string::npos);
}

// A damaged file is refused in one line, or is a sound tokenizer of other words.
TEST(WordTokenizer, DamagedFilesDoNoHarm) {
  const TemporaryFolder folder;
  const std::string good =
      WordTokenizer({.words = {"the", "dog", "Straße", "中文", "n't", "\"", "\\"}, .lowercase = true}, "test")
          .serialize();
  Random random(6);
  int refused = 0;
  for (int round = 0; round < 500; ++round) {
    std::string bad = good;
    for (std::uint64_t i = 1 + random.below(3); i > 0; --i) {
      const std::size_t at = random.below(bad.size());
      switch (random.below(4)) {
        case 0: bad[at] = static_cast<char>(random.below(256)); break;
        case 1: bad.resize(at + 1); break;
        case 2: bad.erase(at, 1 + random.below(10)); break;
        default: bad.insert(at, bad.substr(random.below(bad.size()), random.below(12)));
      }
      if (bad.empty()) bad = "{";
    }
    const std::string path = folder.write("tokenizer.json", bad);
    const std::string message = message_of([&] {
      const auto tokenizer = load_tokenizer(path);
      for (const std::int32_t id : tokenizer->encode("The dog's straße, 中文!"))
        ASSERT_LT(id, tokenizer->vocabulary_size());
      folder.write("again.json", tokenizer->serialize());
      ASSERT_EQ(load_tokenizer(folder / "again.json")->hash(), tokenizer->hash());
    });
    refused += !message.empty();
  }
  EXPECT_GT(refused, 250);
  EXPECT_LT(refused, 500);
}

// Published models of this data have 7,849 German and 5,889 English words of spaCy's that are seen twice or
// more.
TEST(WordTrainer, Multi30kHasNearlyThePublishedVocabulary) {
  HEDDLE_SHARED_DATA_OR_SKIP(multi30k, "multi30k");
  const auto words_in = [&](const std::string& name) {
    LineReader reader(multi30k + "/" + name);
    WordTrainer trainer({.minimum_count = 2, .lowercase = true});
    Strings lines;
    std::string_view line;
    while (reader.next(line)) lines.emplace_back(line);
    trainer.add(lines);
    return static_cast<double>(trainer.train().words.size());
  };
  EXPECT_NEAR(words_in("train.de.gz"), 7849, 0.03 * 7849);
  EXPECT_NEAR(words_in("train.en.gz"), 5889, 0.03 * 5889);
}

}  // namespace
}  // namespace heddle
