// From text to shards: splits, end-of-text tokens, "up to date", and failures that leave things as they were.
#include <gtest/gtest.h>

#include "tests/trainer/data_testing.h"
#include "trainer/data/prepare.h"
#include "trainer/data/split_source.h"
#include "trainer/data/tokenize_report.h"
#include "trainer/data/tokenizers/byte_tokenizer.h"
#include "trainer/data/tokenizers/character_tokenizer.h"
#include "trainer/data/tokenizers/word_tokenizer.h"

namespace heddle {
namespace {

using namespace data_testing;

std::vector<std::int32_t> ids_of(const std::string& folder, const std::string& split) {
  const TokenDataset data = open_split(folder, read_manifest(folder), split);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(data.size()));
  data.read(0, data.size(), ids.data());
  return ids;
}

// The text that the ids of a split stand for, end-of-text tokens as "#".
std::string text_of(const std::string& folder, const std::string& split) {
  const auto tokenizer = open_tokenizer(folder, read_manifest(folder));
  std::string text;
  for (const std::int32_t id : ids_of(folder, split))
    text += tokenizer->is_special(id) ? "#" : std::string(tokenizer->token_bytes(id));
  return text;
}

class Prepare : public testing::Test {
 protected:
  PrepareOptions options(const std::string& tokenizer, std::vector<std::string> texts,
                         double validation_fraction = 0.25) const {
    PrepareOptions result;
    result.texts = std::move(texts);
    result.folder = folder_ / "out";
    result.tokenizer = tokenizer;
    result.validation_fraction = validation_fraction;
    result.bpe_vocabulary = 300;
    return result;
  }
  std::string train() const { return text_of(folder_ / "out", "train"); }
  std::string validation() const { return text_of(folder_ / "out", "validation"); }
  std::string failure(const PrepareOptions& options) const {
    return message_of([&] { prepare(options); });
  }

  TemporaryFolder folder_;
};

TEST_F(Prepare, OneDocumentIsCutAtACharacter) {
  const std::string text = "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9 abc";  // 8 characters
  for (const char* tokenizer : {"byte", "char", "bpe"}) {
    const PrepareResult result = prepare(options(tokenizer, {folder_.write("a.txt", text)}));
    EXPECT_FALSE(result.up_to_date);
    EXPECT_EQ(train(), "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9 a") << tokenizer;
    EXPECT_EQ(validation(), "bc");
    EXPECT_EQ(result.manifest.splits.at("train").bytes, 10);
    EXPECT_EQ(result.manifest.splits.at("validation").bytes, 2);
    EXPECT_EQ(result.manifest.splits.at("validation").documents, 1);
  }
}

TEST_F(Prepare, CharacterIdsAreThoseOfNanoGpt) {
  prepare(options("char", {folder_.write("a.txt", "hello\nworld!")}, 0));
  // sorted(set(text)) is "\n", "!", d, e, h, l, o, r, w
  EXPECT_EQ(ids_of(folder_ / "out", "train"),
            (std::vector<std::int32_t>{4, 3, 5, 5, 6, 0, 8, 6, 7, 5, 2, 1}));
  EXPECT_EQ(read_manifest(folder_ / "out").vocabulary_size, 9);
  EXPECT_FALSE(read_manifest(folder_ / "out").splits.contains("validation"));
  EXPECT_NE(message_of([&] {
              open_split(folder_ / "out", read_manifest(folder_ / "out"), "validation");
            }).find("no validation data"),
            std::string::npos);
}

TEST_F(Prepare, SeveralDocumentsAreCutAtALineEnd) {
  const auto split = [&](const std::vector<std::string>& documents, double fraction) {
    std::vector<std::string> paths;
    for (const std::string& document : documents)
      paths.push_back(folder_.write(fmt::format("d{}.txt", paths.size()), document));
    prepare(options("byte", paths, fraction));
    return train() + "|" + validation();
  };
  // 20 bytes; the point is 10
  EXPECT_EQ(split({"aaaaaaa\nbb\ncc\n", "dddddd"}, 0.5), "aaaaaaa\nbb\n|cc\n#dddddd#");
  EXPECT_EQ(split({"aaaaaaaaa\n", "bbbbbb\nccc"}, 0.5), "aaaaaaaaa\n|bbbbbb\nccc");
  EXPECT_EQ(split({"aaaaaaaaaa", "bbbbbb\nccc"}, 0.5), "aaaaaaaaaa|bbbbbb\nccc");
  EXPECT_EQ(split({"aaaaaaaaaaa", "bbbbbb\ncc"}, 0.5), "aaaaaaaaaaa|bbbbbb\ncc");
  EXPECT_EQ(split({"aa\naaa", "bb\nbbbbb\nccccc"}, 0.5), "aa\naaa#bb\nbbbbb\n#|ccccc");
  EXPECT_EQ(split({"aa", "bb", "cc", "dd"}, 0.25), "aa#bb#cc#|dd");
}

TEST(SplitSource, CutDoesNotDependOnPieces) {
  const TemporaryFolder folder;
  Random random(3);
  for (int round = 0; round < 100; ++round) {
    std::vector<std::string> paths;
    for (int d = 0; d < 3; ++d) {
      std::string text;
      const std::size_t length = 1 + random.below(200);
      for (std::size_t i = 0; i < length; ++i) text += std::string("ab \n")[random.below(4)];
      paths.push_back(folder.write(fmt::format("d{}", d), text));
    }
    const SplitPoint point{SplitPoint::Unit::bytes, static_cast<std::int64_t>(random.below(300))};
    const auto train_bytes = [&](std::size_t piece_bytes) {
      SplitSource source(paths, point, {}, {.piece_bytes = piece_bytes});
      TextPiece piece;
      SplitPart part;
      std::string train, all;
      bool behind = false;
      while (source.next(piece, part)) {
        all += piece.text;
        EXPECT_TRUE(!behind || part == SplitPart::validation);
        EXPECT_TRUE(behind || part == SplitPart::train || piece.starts_document);
        behind = part == SplitPart::validation;
        if (!behind) train += piece.text;
      }
      EXPECT_EQ(all, read_bytes(paths[0]) + read_bytes(paths[1]) + read_bytes(paths[2]));
      return train;
    };
    const std::string whole = train_bytes(100000);
    for (const std::size_t piece_bytes : {1, 3, 10, 50})
      ASSERT_EQ(train_bytes(piece_bytes), whole) << "round " << round;
  }
}

TEST_F(Prepare, DocumentsEndWithEndOfTextIfThereAreSeveral) {
  const std::string json =
      "{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"text\": \"\"}\n{\"text\": \"three\"}\n";
  PrepareOptions settings = options("byte", {folder_.write("a.jsonl", json)}, 0);
  prepare(settings);
  EXPECT_EQ(train(), "one#two#three#");
  EXPECT_EQ(read_manifest(folder_ / "out").splits.at("train").documents, 3);
  EXPECT_EQ(read_manifest(folder_ / "out").splits.at("train").bytes, 11);
  EXPECT_EQ(read_manifest(folder_ / "out").vocabulary_size, 257);
  settings.end_of_text = false;
  prepare(settings);
  EXPECT_EQ(train(), "onetwothree");
  EXPECT_EQ(read_manifest(folder_ / "out").vocabulary_size, 256);
  prepare(options("char", {folder_ / "a.jsonl"}, 0));
  EXPECT_EQ(train(), "onetwothree");
}

TEST_F(Prepare, SeparateValidationText) {
  PrepareOptions settings = options("bpe", {folder_.write("a.txt", "some text for training\n")}, 0.9);
  settings.validation_texts = {folder_.write("b.txt", "quite another text\n")};
  prepare(settings);
  EXPECT_EQ(train(), "some text for training\n");
  EXPECT_EQ(validation(), "quite another text\n");
}

TEST_F(Prepare, BpeIsLearntFromTheTrainingTextOnly) {
  PrepareOptions settings = options("bpe", {folder_.write("a.txt", "abababababab")}, 0);
  settings.validation_texts = {folder_.write("b.txt", "xyxyxyxyxyxyxyxyxyxy")};
  prepare(settings);
  EXPECT_LT(ids_of(folder_ / "out", "train").size(), 6u);
  EXPECT_EQ(ids_of(folder_ / "out", "validation").size(), 20u);
}

TEST_F(Prepare, WordsAreLearntFromTheTrainingTextOnly) {
  PrepareOptions settings = options("word",
                                    {folder_.write("a.jsonl",
                                                   "{\"text\": \"The dog, the cat.\"}\n"
                                                   "{\"text\": \"the dog\"}")},
                                    0);
  settings.validation_texts = {folder_.write("b.txt", "The  bird, the bird")};
  prepare(settings);
  EXPECT_EQ(ids_of(folder_ / "out", "train"), (std::vector<std::int32_t>{0, 2, 0, 3, 0, 0, 1, 3, 2, 1}));
  EXPECT_EQ(ids_of(folder_ / "out", "validation"), (std::vector<std::int32_t>{0, 0, 0, 3, 0}));
  settings.lowercase = true;
  EXPECT_FALSE(prepare(settings).up_to_date);
  EXPECT_EQ(ids_of(folder_ / "out", "validation"), (std::vector<std::int32_t>{2, 0, 0, 2, 0}));
  settings.word_minimum_count = 1;
  EXPECT_FALSE(prepare(settings).up_to_date);
  EXPECT_TRUE(prepare(settings).up_to_date);
  EXPECT_EQ(read_manifest(folder_ / "out").vocabulary_size, 7);  // the, dog, ",", ".", cat, and two special
  settings.word_minimum_count = 0;
  EXPECT_NE(failure(settings).find("0 times"), std::string::npos);
  settings.word_minimum_count = 10;
  EXPECT_NE(failure(settings).find("--word-minimum-count"), std::string::npos);
  EXPECT_NE(failure(options("word", {folder_.write("c.txt", "ab\xFF")}, 0)).find("c.txt: byte 2"),
            std::string::npos);
}

TEST_F(Prepare, ManyShardsAreOneStream) {
  PrepareOptions settings = options("byte", {folder_.write("a.txt", std::string(1000, 'x') + "yz")}, 0);
  settings.tokens_per_shard = 100;
  prepare(settings);
  EXPECT_EQ(read_manifest(folder_ / "out").splits.at("train").shards.size(), 11u);
  EXPECT_EQ(train(), std::string(1000, 'x') + "yz");
  // Fewer shards later: those left over go.
  settings.tokens_per_shard = 600;
  prepare(settings);
  EXPECT_EQ(train(), std::string(1000, 'x') + "yz");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "out/train-00001.heddle"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/train-00002.heddle"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/preparing.tmp"));
}

TEST_F(Prepare, SameInputsAndSettingsAreUpToDate) {
  PrepareOptions settings = options("bpe", {folder_.write("a.txt", "some text and more text\n")});
  EXPECT_FALSE(prepare(settings).up_to_date);
  EXPECT_TRUE(prepare(settings).up_to_date);
  settings.threads = 3;
  EXPECT_TRUE(prepare(settings).up_to_date);
  settings.texts = {folder_.write("other-name.txt", "some text and more text\n")};
  EXPECT_TRUE(prepare(settings).up_to_date);
  const PrepareOptions same = settings;
  const auto changed = [&](auto change) {
    PrepareOptions other = same;
    change(other);
    const bool again = !prepare(other).up_to_date;
    prepare(same);
    return again;
  };
  EXPECT_TRUE(changed([](PrepareOptions& o) { o.bpe_vocabulary = 280; }));
  EXPECT_TRUE(changed([](PrepareOptions& o) { o.validation_fraction = 0.5; }));
  EXPECT_TRUE(changed([](PrepareOptions& o) { o.tokenizer = "byte"; }));
  EXPECT_TRUE(changed([](PrepareOptions& o) { o.end_of_text = false; }));
  EXPECT_TRUE(changed([](PrepareOptions& o) { o.tokens_per_shard = 5; }));
  folder_.write("other-name.txt", "some text and more texts");
  EXPECT_FALSE(prepare(same).up_to_date);
}

TEST_F(Prepare, DamagedDataIsMadeAgain) {
  const PrepareOptions settings = options("byte", {folder_.write("a.txt", "some text and more text\n")});
  prepare(settings);
  for (const char* name :
       {"train-00000.heddle", "validation-00000.heddle", "tokenizer.json", "dataset.json"}) {
    const std::string path = fmt::format("{}/out/{}", folder_.path(), name);
    const std::string good = read_bytes(path);
    for (const std::string& bad : {good.substr(0, good.size() - 2), good.substr(0, 3), std::string()}) {
      folder_.write(fmt::format("out/{}", name), bad);
      EXPECT_FALSE(prepare(settings).up_to_date) << name << " of " << bad.size() << " bytes";
      EXPECT_EQ(read_bytes(path), good);
    }
    std::filesystem::remove(path);
    EXPECT_FALSE(prepare(settings).up_to_date) << name;
  }
  EXPECT_TRUE(prepare(settings).up_to_date);
}

TEST_F(Prepare, FailureLeavesTheEarlierDataAsItWas) {
  prepare(options("byte", {folder_.write("a.txt", "some text and more text\n")}));
  EXPECT_NE(failure(options("byte", {folder_.write("b.txt.gz", gzip("text").substr(0, 12))})), "");
  EXPECT_EQ(train() + validation(), "some text and more text\n");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/preparing.tmp"));
}

TEST_F(Prepare, ResultDoesNotDependOnThreads) {
  std::string text;
  Random random(7);
  while (text.size() < 3000000)
    text += std::string(1 + random.below(9), static_cast<char>('a' + random.below(26))) + " ";
  PrepareOptions settings = options("bpe", {folder_.write("a.txt", text)});
  settings.threads = 1;
  prepare(settings);
  const std::string shard = read_bytes(folder_ / "out/train-00000.heddle");
  settings.threads = 4;
  settings.folder = folder_ / "other";
  prepare(settings);
  EXPECT_EQ(read_bytes(folder_ / "other/train-00000.heddle"), shard);
  EXPECT_EQ(read_bytes(folder_ / "other/tokenizer.json"), read_bytes(folder_ / "out/tokenizer.json"));
  EXPECT_EQ(train() + validation(), text);
}

TEST_F(Prepare, LoadsATokenizer) {
  prepare(options("bpe", {folder_.write("a.txt", "some text and more text and more\n")}));
  PrepareOptions settings = options(folder_ / "out", {folder_.write("b.txt", "more and more")}, 0);
  settings.folder = folder_ / "second";
  prepare(settings);
  EXPECT_EQ(read_bytes(folder_ / "second/tokenizer.json"), read_bytes(folder_ / "out/tokenizer.json"));
  EXPECT_EQ(text_of(folder_ / "second", "train"), "more and more");
}

TEST_F(Prepare, SaysWhatIsWrong) {
  const std::string good = folder_.write("a.txt", "some text\n");
  const auto contains = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(contains(failure(options("byte", {})), "no text"));
  EXPECT_TRUE(contains(failure(options("byte", {folder_.write("empty.txt", "")})), "empty.txt"));
  EXPECT_TRUE(contains(failure(options("byte", {folder_.write("short.txt", "x")}, 0.1)), "train"));
  EXPECT_TRUE(contains(failure(options("byte", {good}, 1)), "fraction"));
  EXPECT_TRUE(contains(failure(options("byte", {good}, -0.1)), "fraction"));
  EXPECT_TRUE(contains(failure(options("no-such-tokenizer", {good})), "no-such-tokenizer"));
  EXPECT_TRUE(contains(failure(options("char", {folder_.write("b.txt", "ab\xFF")})), "b.txt: byte 2"));
  PrepareOptions settings = options("bpe", {good});
  settings.bpe_vocabulary = 256;
  EXPECT_TRUE(contains(failure(settings), "257"));
  prepare(options("char", {good}));
  settings =
      options(folder_ / "out", {folder_.write("c.jsonl", "{\"text\": \"text\"}\n{\"text\": \"some T\"}")}, 0);
  settings.folder = folder_ / "second";
  EXPECT_TRUE(contains(failure(settings), "c.jsonl:2: the character 'T' (U+0054)")) << failure(settings);
}

TEST_F(Prepare, ManifestIsNotTrusted) {
  prepare(options("byte", {folder_.write("a.txt", "some text and more text\n")}));
  const std::string good = read_bytes(folder_ / "out/dataset.json");
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string bad = good;
    const std::size_t place = bad.find(from);
    EXPECT_NE(place, std::string::npos) << from;
    bad.replace(place, from.size(), to);
    folder_.write("out/dataset.json", bad);
    return message_of([&] {
      const DatasetManifest manifest = read_manifest(folder_ / "out");
      open_split(folder_ / "out", manifest, "train");
      open_tokenizer(folder_ / "out", manifest);
    });
  };
  EXPECT_EQ(changed("train-00000", "train-00000"), "");
  for (const char* name : {"../a.txt", "/etc/passwd", ".hidden", "", "x\\u0000y"}) {
    EXPECT_NE(changed("train-00000.heddle", name).find("plain name"), std::string::npos) << name;
  }
  EXPECT_NE(changed("train-00000", "validation-00000"), "");
  EXPECT_NE(changed("\"tokens\": 18", "\"tokens\": 17"), "");
  EXPECT_NE(changed("\"tokens\": 18", "\"tokens\": -18"), "");
  EXPECT_NE(changed("\"tokens\": 18", "\"tokens\": 18.0"), "");
  EXPECT_NE(changed("\"tokens\": 18", "\"tokens\": 18446744073709551616"), "");
  EXPECT_NE(changed("\"version\": 1", "\"version\": 2"), "");
  EXPECT_NE(changed("\"vocabulary_size\": 257", "\"vocabulary_size\": 258"), "");
  EXPECT_NE(changed("\"splits\"", "\"split\""), "");
}

TEST_F(Prepare, ShakespeareHasTheKnownNumbers) {
  HEDDLE_SHARED_DATA_OR_SKIP(shakespeare, "tinyshakespeare");
  HEDDLE_SHARED_DATA_OR_SKIP(gpt2, "gpt2-bpe");
  std::string file;
  for (const auto& entry : std::filesystem::directory_iterator(shakespeare)) {
    if (entry.path().filename() != "README.md") file = entry.path().string();
  }
  DatasetManifest manifest = prepare(options("char", {file}, 0.1)).manifest;
  EXPECT_EQ(manifest.vocabulary_size, 65);
  EXPECT_EQ(manifest.splits.at("train").tokens, 1003854);
  EXPECT_EQ(manifest.splits.at("validation").tokens, 111540);
  // nanoGPT, data/shakespeare/readme.md
  manifest = prepare(options(gpt2, {file}, 0.1)).manifest;
  EXPECT_EQ(manifest.vocabulary_size, 50257);
  EXPECT_EQ(manifest.splits.at("train").tokens, 301966);
  EXPECT_EQ(manifest.splits.at("validation").tokens, 36059);
}

TEST(Tokenize, ReportShowsTokensAndBoundaries) {
  const TokenizeReport report = tokenize_report(ByteTokenizer(), "a\xC3\xA9\n");
  ASSERT_EQ(report.tokens.size(), 4u);
  EXPECT_EQ(report.tokens[1].id, 0xC3);
  EXPECT_EQ(report.tokens[1].begin, 1u);
  EXPECT_EQ(report.tokens[1].shown, "\\xc3");
  EXPECT_EQ(format_boundaries(report),
            "a|\\xc3|\\xa9|\\n\n4 tokens, 4 bytes, 3 characters, 1.0000 tokens per byte\n");
  EXPECT_NE(format_table(report).find("       3        10           3  \"\\n\"\n"), std::string::npos)
      << format_table(report);
  const WordTokenizer words({.words = {"dog"}}, "test");
  EXPECT_EQ(format_boundaries(tokenize_report(words, "a  dog")),
            "<unk>|dog\n2 tokens, 6 bytes, 6 characters, 0.3333 tokens per byte\n");
  EXPECT_NE(format_table(tokenize_report(words, "a  dog")).find("       1         2           -  \"dog\"\n"),
            std::string::npos);
  EXPECT_EQ(format_boundaries(tokenize_report(ByteTokenizer(), "")),
            "\n0 tokens, 0 bytes, 0 characters, 0.0000 tokens per byte\n");
}

}  // namespace
}  // namespace heddle
