// Text from files: formats, order, pieces, and what is said of broken input.
#include <gtest/gtest.h>

#include "tests/trainer/data_testing.h"
#include "trainer/data/text_source.h"
#include "trainer/data/tokenizers/bpe_trainer.h"
#include "trainer/data/tokenizers/word_trainer.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

using namespace data_testing;
using Strings = std::vector<std::string>;

// All documents, put together from their pieces.
Strings documents(const Strings& paths, const TextOptions& options = {}) {
  TextSource source(list_text_files(paths), options);
  Strings result;
  for (TextPiece piece; source.next(piece);) {
    EXPECT_FALSE(piece.text.empty());
    if (piece.starts_document) result.emplace_back();
    result.back() += piece.text;
  }
  return result;
}

std::string failure(const Strings& paths, const TextOptions& options = {}) {
  return message_of([&] { documents(paths, options); });
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(TextSource, ReadsEachFormat) {
  const TemporaryFolder folder;
  const std::string text = "First line\nsecond \xC3\xA9\xFF line\r\n";
  const std::string json =
      "{\"id\": 1, \"text\": \"one\\n\\u00e9\"}\n\n  {\"text\": \"\"}\n{\"meta\": {\"text\": 3}, \"text\": "
      "\"two\"}";
  EXPECT_EQ(documents({folder.write("a.txt", text)}), Strings{text});
  EXPECT_EQ(documents({folder.write("a.txt.gz", gzip(text))}), Strings{text});
  EXPECT_EQ(documents({folder.write("a.txt.zst", zstd(text))}), Strings{text});
  EXPECT_EQ(documents({folder.write("source.c", text)}), Strings{text});
  const Strings expected{"one\n\xC3\xA9", "two"};
  EXPECT_EQ(documents({folder.write("a.jsonl", json)}), expected);
  EXPECT_EQ(documents({folder.write("a.jsonl.gz", gzip(json))}), expected);
  EXPECT_EQ(documents({folder.write("a.ndjson.zst", zstd(json))}), expected);
  EXPECT_EQ(documents({folder.write("b.jsonl", "{\"body\": \"x\"}\r\n")}, {.field = "body"}), Strings{"x"});
}

TEST(TextSource, SeveralMembersAndFramesAreOneText) {
  const TemporaryFolder folder;
  EXPECT_EQ(documents({folder.write("a.gz", gzip("one ") + gzip("") + gzip("two"))}), Strings{"one two"});
  EXPECT_EQ(documents({folder.write("a.zst", zstd("one ") + zstd("") + zstd("two"))}), Strings{"one two"});
}

TEST(TextSource, FoldersAreReadInTheOrderOfPaths) {
  const TemporaryFolder folder;
  for (const char* name :
       {"b.txt", "a/z.txt", "a.jsonl", "B.text", "a/b/c.txt.gz", "README.md", ".hidden.txt", ".git/x.txt"}) {
    const std::string text = std::string(name).ends_with("jsonl") ? "{\"text\": \"a.jsonl\"}" : name;
    folder.write(name, std::string(name).ends_with(".gz") ? gzip(text) : text);
  }
  EXPECT_EQ(documents({folder.path()}), (Strings{"B.text", "a.jsonl", "a/b/c.txt.gz", "a/z.txt", "b.txt"}));
  EXPECT_EQ(documents({folder / "b.txt", folder / "a"}), (Strings{"b.txt", "a/b/c.txt.gz", "a/z.txt"}));
}

TEST(TextSource, EmptyDocumentsAreSkipped) {
  const TemporaryFolder folder;
  EXPECT_EQ(documents({folder.write("a.txt", ""), folder.write("b.jsonl", "\n"),
                       folder.write("c.txt.gz", gzip(""))}),
            Strings{});
}

TEST(TextSource, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_TRUE(contains(failure({folder / "absent.txt"}), "absent.txt does not exist"));
  EXPECT_TRUE(contains(failure({folder.path()}), "no .txt or .jsonl file"));
  EXPECT_TRUE(contains(failure({folder.write("a.jsonl", "{\"text\": \"x\"}\n{\"body\": \"y\"}\n")}),
                       "a.jsonl:2: the object has no \"text\""));
  EXPECT_TRUE(contains(failure({folder.write("b.jsonl", "\n{\"text\": 5}\n")}),
                       "b.jsonl:2: \"text\" is not a string"));
  EXPECT_TRUE(contains(failure({folder.write("c.jsonl", "{\"text\": [\"x\"]}")}), "c.jsonl:1"));
  EXPECT_TRUE(contains(failure({folder.write("d.jsonl", "{\"text\": \"x\"")}), "d.jsonl:1: not valid JSON"));
  EXPECT_TRUE(contains(failure({folder.write("e.jsonl", "{\"text\": \"x\", \"text\": \"y\"}")}), "twice"));
  EXPECT_TRUE(contains(failure({folder.write("f.jsonl", "[\"text\"]")}), "f.jsonl:1"));
  EXPECT_TRUE(contains(failure({folder.write("g.jsonl", "{\"text\": \"\xFF\"}")}), "g.jsonl:1"));
  EXPECT_TRUE(contains(failure({folder.write("h.jsonl", std::string("{\"text\": \"x\"}\0{", 15))}), "NUL"));
}

TEST(TextSource, CompressedFilesThatStopEarlyAreErrors) {
  const TemporaryFolder folder;
  const std::string text(100000, 'x');
  for (const auto& [name, packed] : {std::pair("a.gz", gzip(text)), std::pair("a.zst", zstd(text))}) {
    for (std::size_t length = 0; length < packed.size(); ++length) {
      const std::string path = folder.write(name, packed.substr(0, length));
      const std::string message = failure({path});
      EXPECT_TRUE(contains(message, path + (length == 0 ? " is empty" : " is truncated")))
          << length << ": " << message;
    }
    EXPECT_TRUE(
        contains(failure({folder.write(name, packed + packed.substr(0, packed.size() - 1))}), "truncated"));
    EXPECT_TRUE(contains(failure({folder.write(name, packed + "rest")}), name));
    EXPECT_TRUE(contains(failure({folder.write(name, "no such data at all")}), "not valid"));
  }
}

TEST(TextSource, NamesTheByteThatIsNotUtf8) {
  const TemporaryFolder folder;
  std::string text = "line of text\n";
  while (text.size() < 5000) text += text;
  const std::size_t bad = text.size() + 2;
  const std::string path = folder.write("a.txt", text + "ab\xC3(" + text);
  EXPECT_EQ(failure({path}), "");
  const std::string message = failure({path}, {.require_utf8 = true, .piece_bytes = 1000});
  EXPECT_TRUE(contains(message, "a.txt: byte " + std::to_string(bad) + " (0xc3)")) << message;
}

TEST(TextCut, IsOnlyWhereWordsEndInAnyCase) {
  const auto cut = [](const std::string& text) { return find_text_cut(text, 0, text.size()); };
  EXPECT_EQ(cut("a b"), 1u);
  EXPECT_EQ(cut("a\nb"), 2u);
  EXPECT_EQ(cut("a  b"), 0u);
  EXPECT_EQ(cut("a\n\nb"), 0u);
  EXPECT_EQ(cut("a\r\nb"), 0u);
  EXPECT_EQ(cut("a\n b"), 0u);
  EXPECT_EQ(cut("a\xC2\x85 b"), 0u);  // U+0085 is white space
  EXPECT_EQ(cut("a \xE3\x80\x80"
                "b"),
            0u);                                     // so is U+3000
  EXPECT_EQ(cut("\xE3\x80\x82\n\xE4\xB8\xAD"), 4u);  // Chinese
  EXPECT_EQ(cut("a \xE4\xB8"), 0u);                  // a character that is not complete
  EXPECT_EQ(cut("ab"), 0u);
  EXPECT_EQ(cut(""), 0u);
}

// The claim of text_source.h: tokens of the pieces are the tokens of the whole.
TEST(TextSource, PiecesHaveTheTokensOfTheWhole) {
  const TemporaryFolder folder;
  Random random(5);
  const Strings parts{
      "a", "b",        "'s",           "12",           " ",        " ",    "\n",    "\n",  "\r\n",     "\t",
      "!", "\xC3\xA9", "\xE4\xB8\xAD", "\xE3\x80\x80", "\xC2\x85", "\xFF", " word", ".\n", "\xE2\x80", "?  "};
  for (const std::string_view pattern : {kGpt2Pattern, kLlama3Pattern}) {
    for (int round = 0; round < 60; ++round) {
      std::string text;
      for (int i = 0; i < 300; ++i) text += parts[random.below(parts.size())];
      BpeTrainer trainer(
          {.vocabulary_size = 300, .minimum_count = 1, .pattern = std::string(pattern), .threads = 1});
      trainer.add(text);
      const BpeTokenizer tokenizer(trainer.train(), "test");
      ASSERT_TRUE(tokenizer.works_on_pieces());
      TextSource source(list_text_files({folder.write("a.txt", text)}),
                        {.piece_bytes = 1 + random.below(60)});
      std::vector<std::int32_t> ids;
      std::string together;
      int pieces = 0;
      for (TextPiece piece; source.next(piece); ++pieces) {
        EXPECT_EQ(piece.starts_document, pieces == 0);
        tokenizer.encode(piece.text, ids);
        together += piece.text;
      }
      ASSERT_EQ(together, text);
      ASSERT_EQ(ids, tokenizer.encode(text));
      ASSERT_GT(pieces, 1);
    }
  }
}

TEST(TextSource, PiecesHaveTheWordsOfTheWhole) {
  const TemporaryFolder folder;
  Random random(8);
  const Strings parts{"a",  "b", "n't", "'s", "12", "-",      " ",        " ",     "\n",  "\n",
                      "\t", "!", ".",   "U.", "é",  "\u3000", "\xC2\x85", " Word", ".\n", "?  "};
  for (int round = 0; round < 60; ++round) {
    std::string text = "a b\nc d";
    for (int i = 0; i < 300; ++i) text += parts[random.below(parts.size())];
    WordTrainer trainer({.minimum_count = 1, .threads = 1});
    trainer.add(text);
    const WordTokenizer tokenizer(trainer.train(), "test");
    ASSERT_TRUE(tokenizer.works_on_pieces());
    TextSource source(list_text_files({folder.write("a.txt", text)}), {.piece_bytes = 1 + random.below(60)});
    std::vector<std::int32_t> ids;
    int pieces = 0;
    for (TextPiece piece; source.next(piece); ++pieces) tokenizer.encode(piece.text, ids);
    ASSERT_EQ(ids, tokenizer.encode(text));
    ASSERT_GT(pieces, 1);
  }
}

TEST(TextSource, WholeDocumentsAreNotCut) {
  const TemporaryFolder folder;
  std::string text;
  while (text.size() < 400000) text += "some words ";
  TextSource source(list_text_files({folder.write("a.txt", text)}),
                    {.whole_documents = true, .piece_bytes = 100});
  TextPiece piece;
  ASSERT_TRUE(source.next(piece));
  EXPECT_EQ(piece.text, text);
  EXPECT_FALSE(source.next(piece));
}

TEST(Utf8, FindsWhatIsNotWellFormed) {
  const auto first_bad = [](const std::string& text) { return find_invalid_utf8(text); };
  for (const std::string good : {"", "plain", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                                 "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(first_bad(good), good.size()) << escape_for_display(good);
  }
  for (const std::string bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE4\xB8", "\xFF"}) {
    EXPECT_EQ(first_bad("12345678" + bad + "12345678"), 8u) << escape_for_display(bad);
  }
}

TEST(Utf8, CodePointsSurvive) {
  for (const char32_t c :
       {U'\0', U'a', U'\x7f', U'\x80', U'\x7ff', U'\x800', U'\ufffd', U'\U00010000', U'\U0010ffff'}) {
    std::string text;
    append_utf8(text, c);
    std::size_t position = 0;
    EXPECT_EQ(next_code_point(text, position), c);
    EXPECT_EQ(position, text.size());
    EXPECT_EQ(utf8_length_at(text, 0), text.size());
  }
}

TEST(Utf8, DisplayIsOneLineAndShowsEveryByte) {
  EXPECT_EQ(escape_for_display("a b\n\t\\\x01\xC3\xA9\xFF\xC2\xA0\xE2\x80\xAE"),
            "a b\\n\\t\\\\\\x01\xC3\xA9\\xff\\u{a0}\\u{202e}");
}

}  // namespace
}  // namespace heddle
