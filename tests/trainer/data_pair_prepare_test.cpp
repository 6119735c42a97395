// From parallel text to prepared pairs and back: what the folder holds, "up to date", and damage that is
// found.
#include <gtest/gtest.h>

#include "tests/trainer/data_testing.h"
#include "trainer/data/pair_dataset.h"
#include "trainer/data/prepare.h"
#include "trainer/data/prepare_pairs.h"
#include "trainer/data/tokenizers/byte_tokenizer.h"

namespace heddle {
namespace {

using namespace data_testing;

using Pairs = std::vector<std::pair<std::string, std::string>>;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class PreparePairs : public testing::Test {
 protected:
  PreparePairsOptions options(const std::string& tokenizer, const std::string& source,
                              const std::string& target, double validation_fraction = 0.25) const {
    PreparePairsOptions result;
    result.files = {{folder_.write("a.en", source)}, {folder_.write("a.de", target)}, {}};
    result.folder = folder_ / "out";
    result.tokenizer = tokenizer;
    result.validation_fraction = validation_fraction;
    result.bpe_vocabulary = 300;
    return result;
  }
  PairDataset open(const std::string& split = kTrainSplit) const {
    return PairDataset::open(folder_ / "out", read_manifest(folder_ / "out"), split);
  }
  // The texts of a split; every one must end with its end-of-text token and hold no other.
  Pairs texts(const std::string& split = kTrainSplit) const {
    const DatasetManifest manifest = read_manifest(folder_ / "out");
    const auto source = open_tokenizer(folder_ / "out", manifest),
               target = open_target_tokenizer(folder_ / "out", manifest);
    const PairDataset data = open(split);
    const auto decode = [](const Tokenizer& tokenizer, std::vector<std::int32_t> ids, std::int32_t end) {
      EXPECT_EQ(ids.back(), end);
      EXPECT_EQ(end, tokenizer.end_of_text());
      ids.pop_back();
      EXPECT_EQ(std::count(ids.begin(), ids.end(), end), 0);
      return tokenizer.decode(ids);
    };
    Pairs pairs;
    for (std::int64_t i = 0; i < data.size(); ++i) {
      std::vector<std::int32_t> source_ids(static_cast<std::size_t>(data.length(i).source)),
          target_ids(static_cast<std::size_t>(data.length(i).target));
      data.read_source(i, source_ids.data());
      data.read_target(i, target_ids.data());
      pairs.emplace_back(decode(*source, source_ids, data.source_end()),
                         decode(*target, target_ids, data.target_end()));
    }
    return pairs;
  }
  std::string failure(const PreparePairsOptions& options) const {
    return message_of([&] { prepare_pairs(options); });
  }
  bool exists(const std::string& name) const { return std::filesystem::exists(folder_ / ("out/" + name)); }

  TemporaryFolder folder_;
};

TEST_F(PreparePairs, TheLastFractionValidates) {
  for (const char* tokenizer : {"byte", "bpe"}) {
    const PrepareResult result = prepare_pairs(options(tokenizer, "a\nb\n\nd\ne\n", "1\n2\n3\n4\n5\n"));
    EXPECT_FALSE(result.up_to_date);
    EXPECT_EQ(texts(), (Pairs{{"a", "1"}, {"b", "2"}, {"d", "4"}}));
    EXPECT_EQ(texts(kValidationSplit), (Pairs{{"e", "5"}}));
    const DatasetManifest manifest = read_manifest(folder_ / "out");
    EXPECT_EQ(manifest.pairs->read, 5);
    EXPECT_EQ(manifest.pairs->empty, 1);
    EXPECT_FALSE(manifest.pairs->target_tokenizer);
    EXPECT_EQ(manifest.splits.at("train-source").documents, 3);
    EXPECT_EQ(manifest.splits.at("train-target").documents, 3);
    EXPECT_EQ(manifest.splits.at("train-target").bytes, 3);
    EXPECT_EQ(manifest.splits.at("validation-source").documents, 1);
    EXPECT_EQ(manifest.splits.at("validation-target").tokens, 2);
    EXPECT_EQ(result.manifest.fingerprint, manifest.fingerprint);
  }
}

TEST_F(PreparePairs, ValidationFilesReplaceTheFraction) {
  PreparePairsOptions settings = options("byte", "a\nb\n", "1\n2\n", 0.9);
  settings.validation_files.pairs = {folder_.write("v.tsv", "c\t3\nd\t\n")};
  prepare_pairs(settings);
  EXPECT_EQ(texts(), (Pairs{{"a", "1"}, {"b", "2"}}));
  EXPECT_EQ(texts(kValidationSplit), (Pairs{{"c", "3"}}));
  EXPECT_EQ(read_manifest(folder_ / "out").pairs->read, 4);
  EXPECT_EQ(read_manifest(folder_ / "out").pairs->empty, 1);
}

TEST_F(PreparePairs, WithoutValidation) {
  prepare_pairs(options("byte", "a\n", "1\n", 0));
  EXPECT_EQ(texts(), (Pairs{{"a", "1"}}));
  EXPECT_TRUE(contains(message_of([&] { open(kValidationSplit); }), "no validation-source data"));
}

TEST_F(PreparePairs, OneTokenizerIsLearntFromBothSides) {
  prepare_pairs(options("bpe", "ababababab\nx\n", "cdcdcdcdcd\ny\n", 0.5));
  EXPECT_TRUE(exists("tokenizer.json"));
  EXPECT_LT(open().length(0).source, 6);
  EXPECT_LT(open().length(0).target, 6);
  EXPECT_EQ(texts(kValidationSplit), (Pairs{{"x", "y"}}));
}

TEST_F(PreparePairs, EachSideMayHaveItsOwn) {
  PreparePairsOptions settings = options("bpe", "ababababab\nx\n", "cdcdcdcdcd\ny\n", 0.5);
  prepare_pairs(settings);
  settings.joint_vocabulary = false;
  prepare_pairs(settings);
  EXPECT_FALSE(exists("tokenizer.json")) << "left from before";
  const DatasetManifest manifest = read_manifest(folder_ / "out");
  ASSERT_TRUE(manifest.pairs->target_tokenizer);
  EXPECT_NE(manifest.pairs->target_tokenizer->hash, manifest.tokenizer_hash);
  const auto source = load_tokenizer(folder_ / "out/source_tokenizer.json"),
             target = load_tokenizer(folder_ / "out/target_tokenizer.json");
  EXPECT_LT(source->encode("abab").size(), 4u);
  EXPECT_EQ(source->encode("cdcd").size(), 4u);
  EXPECT_EQ(target->encode("abab").size(), 4u);
  EXPECT_LT(target->encode("cdcd").size(), 4u);
  EXPECT_EQ(texts(), (Pairs{{"ababababab", "cdcdcdcdcd"}}));
  settings.joint_vocabulary = true;
  prepare_pairs(settings);
  EXPECT_TRUE(exists("tokenizer.json"));
  EXPECT_FALSE(exists("source_tokenizer.json"));
}

TEST_F(PreparePairs, KindsMayDiffer) {
  PreparePairsOptions settings = options("byte", "ab\n", "cdcdcd\n", 0);
  settings.joint_vocabulary = false;
  settings.target_tokenizer = "bpe";
  prepare_pairs(settings);
  EXPECT_EQ(open().source_vocabulary_size(), 257);
  EXPECT_EQ(open().source_end(), 256);
  EXPECT_GT(open().target_vocabulary_size(), 257);
  EXPECT_EQ(texts(), (Pairs{{"ab", "cdcdcd"}}));
}

TEST_F(PreparePairs, WordsAreLearntFromTheirSide) {
  PreparePairsOptions settings =
      options("word", "a Dog\na dog\na cat\n", "ein Hund\nein Hund\neine Katze\n", 0);
  EXPECT_FALSE(prepare_pairs(settings).up_to_date);
  EXPECT_TRUE(prepare_pairs(settings).up_to_date);
  settings.lowercase = true;
  EXPECT_FALSE(prepare_pairs(settings).up_to_date);
  const std::int64_t joint = open().source_vocabulary_size();
  settings.word_minimum_count = 3;
  EXPECT_FALSE(prepare_pairs(settings).up_to_date);
  EXPECT_LT(open().source_vocabulary_size(), joint);
  settings.word_minimum_count = 2;
  settings.joint_vocabulary = false;
  EXPECT_FALSE(prepare_pairs(settings).up_to_date);
  EXPECT_LT(open().source_vocabulary_size(), joint);
  EXPECT_LT(open().target_vocabulary_size(), joint);
  EXPECT_EQ(open().length(0).source, 3);
}

TEST_F(PreparePairs, LearnsFromTheTrainingPairsOnly) {
  prepare_pairs(options("bpe", "ab\nxyxyxyxyxyxy\n", "cd\nxyxyxyxyxyxy\n", 0.5));
  EXPECT_EQ(open(kValidationSplit).length(0).source, 13);
}

TEST_F(PreparePairs, LoadsATokenizer) {
  ByteTokenizer bytes;
  save_tokenizer(bytes, folder_ / "mine.json");
  prepare_pairs(options(folder_ / "mine.json", "ab\n", "cd\n", 0));
  EXPECT_EQ(texts(), (Pairs{{"ab", "cd"}}));
  EXPECT_EQ(read_bytes(folder_ / "out/tokenizer.json"), read_bytes(folder_ / "mine.json"));
}

TEST_F(PreparePairs, ManyShardsAreOneStream) {
  std::string source, target;
  Pairs expected;
  for (int i = 0; i < 100; ++i) {
    expected.emplace_back(std::string(static_cast<std::size_t>(1 + i % 7), 's'), std::to_string(i));
    source += expected.back().first + "\n";
    target += expected.back().second + "\n";
  }
  PreparePairsOptions settings = options("byte", source, target, 0);
  settings.tokens_per_shard = 37;
  prepare_pairs(settings);
  EXPECT_GT(read_manifest(folder_ / "out").splits.at("train-source").shards.size(), 5u);
  EXPECT_EQ(texts(), expected);
  settings.tokens_per_shard = 1 << 20;
  prepare_pairs(settings);
  EXPECT_TRUE(exists("train-source-00000.heddle"));
  EXPECT_FALSE(exists("train-source-00001.heddle")) << "left from before";
  EXPECT_EQ(texts(), expected);
}

TEST_F(PreparePairs, ResultDoesNotDependOnThreads) {
  std::string source, target;
  Random random(7);
  for (int i = 0; i < 100000; ++i) {
    source += std::string(1 + random.below(9), static_cast<char>('a' + random.below(26))) + " s\n";
    target += std::string(1 + random.below(9), static_cast<char>('a' + random.below(26))) + " t\n";
  }
  PreparePairsOptions settings = options("bpe", source, target);
  settings.threads = 1;
  prepare_pairs(settings);
  const std::vector<std::string> names{"train-source-00000.heddle", "train-target-00000.heddle",
                                       "validation-source-00000.heddle", "tokenizer.json", "dataset.json"};
  std::vector<std::string> first;
  for (const std::string& name : names) first.push_back(read_bytes(folder_ / ("out/" + name)));
  std::filesystem::remove_all(folder_ / "out");
  settings.threads = 4;
  prepare_pairs(settings);
  for (std::size_t i = 0; i < names.size(); ++i)
    EXPECT_EQ(read_bytes(folder_ / ("out/" + names[i])), first[i]);
}

TEST_F(PreparePairs, SameInputsAndSettingsAreUpToDate) {
  const PreparePairsOptions same = options("bpe", "some text\nmore text\n", "etwas\nmehr\n", 0.5);
  EXPECT_FALSE(prepare_pairs(same).up_to_date);
  EXPECT_TRUE(prepare_pairs(same).up_to_date);
  const auto changed = [&](auto change) {
    PreparePairsOptions other = same;
    change(other);
    const bool again = !prepare_pairs(other).up_to_date;
    prepare_pairs(same);
    return again;
  };
  EXPECT_FALSE(changed([](PreparePairsOptions& o) { o.threads = 3; }));
  EXPECT_TRUE(changed([](PreparePairsOptions& o) { o.bpe_vocabulary = 280; }));
  EXPECT_TRUE(changed([](PreparePairsOptions& o) { o.validation_fraction = 0.4; }));
  EXPECT_TRUE(changed([](PreparePairsOptions& o) { o.tokenizer = "byte"; }));
  EXPECT_TRUE(changed([](PreparePairsOptions& o) { o.joint_vocabulary = false; }));
  EXPECT_TRUE(changed([](PreparePairsOptions& o) { o.learning_bytes = 5; }));
  EXPECT_TRUE(changed([](PreparePairsOptions& o) { o.tokens_per_shard = 5; }));
  EXPECT_TRUE(changed([](PreparePairsOptions& o) { std::swap(o.files.source, o.files.target); }));
  EXPECT_TRUE(changed([](PreparePairsOptions& o) { o.validation_files = o.files; }));
  folder_.write("a.de", "etwas\nviel\n");
  EXPECT_FALSE(prepare_pairs(same).up_to_date);
}

TEST_F(PreparePairs, DamagedDataIsMadeAgain) {
  PreparePairsOptions settings = options("byte", "some text\nmore text\n", "etwas\nmehr\n", 0.5);
  settings.joint_vocabulary = false;
  prepare_pairs(settings);
  for (const char* name : {"train-source-00000.heddle", "validation-target-00000.heddle",
                           "source_tokenizer.json", "target_tokenizer.json", "dataset.json"}) {
    const std::string path = fmt::format("{}/out/{}", folder_.path(), name), good = read_bytes(path);
    folder_.write(fmt::format("out/{}", name), good.substr(0, good.size() - 2));
    EXPECT_FALSE(prepare_pairs(settings).up_to_date) << name;
    EXPECT_EQ(read_bytes(path), good);
    std::filesystem::remove(path);
    EXPECT_FALSE(prepare_pairs(settings).up_to_date) << name;
  }
  EXPECT_TRUE(prepare_pairs(settings).up_to_date);
}

TEST_F(PreparePairs, FailureLeavesTheEarlierDataAsItWas) {
  prepare_pairs(options("byte", "a\n", "1\n", 0));
  EXPECT_NE(failure(options("byte", "a\nb\n", "1\n", 0)), "");
  EXPECT_EQ(texts(), (Pairs{{"a", "1"}}));
  EXPECT_FALSE(exists("preparing.tmp"));
}

TEST_F(PreparePairs, TextAndPairsDoNotMixUp) {
  PrepareOptions text;
  text.texts = {folder_.write("t.txt", "some text and more\n")};
  text.folder = folder_ / "out";
  text.tokenizer = "byte";
  prepare(text);
  EXPECT_TRUE(contains(message_of([&] { open(); }), "holds text, not pairs"));
  prepare_pairs(options("byte", "a\n", "1\n", 0));
  EXPECT_FALSE(exists("train-00000.heddle"));
  EXPECT_TRUE(
      contains(message_of([&] { open_split(folder_ / "out", read_manifest(folder_ / "out"), "train"); }),
               "holds pairs of texts"));
}

TEST_F(PreparePairs, SaysWhatIsWrong) {
  const PreparePairsOptions good = options("byte", "a\nb\n", "1\n2\n", 0.5);
  const auto changed = [&](auto change) {
    PreparePairsOptions bad = good;
    change(bad);
    return failure(bad);
  };
  EXPECT_EQ(failure(good), "");
  EXPECT_TRUE(contains(changed([](auto& o) { o.files = {}; }), "no pairs"));
  EXPECT_TRUE(contains(changed([](auto& o) { o.folder = ""; }), "no folder"));
  EXPECT_TRUE(contains(changed([](auto& o) { o.validation_fraction = 1; }), "fraction"));
  EXPECT_TRUE(contains(changed([](auto& o) { o.tokens_per_shard = 0; }), "shard"));
  EXPECT_TRUE(contains(changed([](auto& o) { o.tokenizer = "char"; }), "char has no end-of-text token"));
  EXPECT_TRUE(contains(changed([](auto& o) {
                         o.tokenizer = "word";
                         o.word_minimum_count = 0;
                       }),
                       "0 times"));
  EXPECT_TRUE(contains(changed([](auto& o) { o.tokenizer = "absent.json"; }), "absent.json does not exist"));
  EXPECT_TRUE(contains(changed([](auto& o) { o.target_tokenizer = "byte"; }), "joint_vocabulary"));
  EXPECT_TRUE(contains(changed([](auto& o) {
                         o.joint_vocabulary = false;
                         o.target_tokenizer = "char";
                       }),
                       "char"));
  EXPECT_TRUE(contains(changed([](auto& o) {
                         o.tokenizer = "bpe";
                         o.bpe_vocabulary = 256;
                       }),
                       "257"));
  save_tokenizer(ByteTokenizer(false), folder_ / "endless.json");
  EXPECT_TRUE(
      contains(changed([&](auto& o) { o.tokenizer = folder_ / "endless.json"; }), "no end-of-text token"));
  EXPECT_TRUE(contains(failure(options("byte", "\n\n", "1\n2\n", 0)), "nothing for the train split"));
  EXPECT_TRUE(contains(failure(options("byte", "a\n", "1\n", 0.5)), "nothing for the train split"));
  EXPECT_TRUE(contains(failure(options("byte", "a\n", "1\n2\n", 0)), "a.de has 2"));
  PreparePairsOptions empty = options("byte", "a\n", "1\n", 0);
  empty.validation_files.pairs = {folder_.write("v.tsv", "")};
  EXPECT_TRUE(contains(failure(empty), "nothing for the validation split"));
}

TEST_F(PreparePairs, ManifestIsNotTrusted) {
  prepare_pairs(options("byte", "abc\nde\nf\n\n", "1\n23\n4\n5\n", 0.5));
  const std::string good = read_bytes(folder_ / "out/dataset.json");
  const auto changed = [&](const std::string& from, const std::string& to, std::size_t which = 0) {
    std::string bad = good;
    std::size_t place = bad.find(from);
    for (; which > 0; --which) place = bad.find(from, place + 1);
    EXPECT_NE(place, std::string::npos) << from;
    bad.replace(place, from.size(), to);
    folder_.write("out/dataset.json", bad);
    return message_of([&] {
      open();
      open(kValidationSplit);
    });
  };
  EXPECT_EQ(changed("\"pairs\"", "\"pairs\""), "");
  EXPECT_TRUE(contains(changed("\"pairs\"", "\"pears\""), "holds text, not pairs"));
  EXPECT_TRUE(contains(changed("\"train-target\"", "\"train-tarmac\""), "no target side"));
  EXPECT_TRUE(contains(changed("\"train-source\"", "\"train-sauce\""), "no source side"));
  EXPECT_TRUE(contains(changed("\"documents\": 1", "\"documents\": 2"), "documents"));
  EXPECT_TRUE(contains(changed("\"documents\": 1", "\"documents\": 9223372036854775807"), "documents"));
  EXPECT_TRUE(contains(changed("\"read\": 4", "\"read\": 5"), "less than there are pairs"));
  EXPECT_TRUE(contains(changed("\"read\": 4", "\"read\": 3"), "more documents than there are pairs"));
  EXPECT_TRUE(contains(changed("\"read\": 4", "\"read\": -4"), "read"));
  EXPECT_TRUE(contains(changed("\"empty\": 1", "\"empty\": 5"), "empty"));
  EXPECT_NE(changed("\"empty\": 1", "\"empty\": true"), "");
  EXPECT_NE(changed("\"pairs\": {", "\"pairs\": [{}], \"x\": {"), "");
  EXPECT_NE(changed("train-source-00000.heddle", "validation-source-00000.heddle"), "");
  EXPECT_NE(changed("train-source-00000.heddle", "../a.en"), "");
  EXPECT_NE(changed("\"empty\": 1", "\"empty\": 1, \"target_tokenizer\": {}"), "");
  EXPECT_NE(changed("\"empty\": 1", "\"empty\": 1, \"target_tokenizer\": {\"kind\": \"byte\", \"hash\": \"" +
                                        std::string(32, '0') + "\", \"vocabulary_size\": 257}"),
            "");
}

// Shards whose header and manifest agree, but whose texts are others than the manifest says.
TEST_F(PreparePairs, TextsAreCountedInTheShards) {
  prepare_pairs(options("byte", "abc\nde\n", "1\n23\n", 0));
  const ByteTokenizer tokenizer;
  const auto with_source = [&](std::vector<std::int32_t> ids) {
    DatasetManifest manifest = read_manifest(folder_ / "out");
    ShardWriter writer(folder_ / "out/train-source-00000.heddle", 257, tokenizer.hash());
    writer.append(ids);
    const ShardHeader header = writer.commit();
    DatasetSplit& split = manifest.splits.at("train-source");
    split.shards.front().tokens = split.tokens = header.tokens;
    split.shards.front().hash = header.payload_hash;
    write_manifest(folder_ / "out", manifest);
    return message_of([&] { open(); });
  };
  EXPECT_EQ(with_source({1, 2, 256, 3, 256}), "");
  EXPECT_EQ(with_source({256, 256}), "");
  EXPECT_TRUE(contains(with_source({1, 256}), "1 texts instead of the 2"));
  EXPECT_TRUE(contains(with_source({1, 256, 2}), "1 texts instead of the 2"));
  EXPECT_TRUE(contains(with_source({1, 256, 2, 256, 3}), "its last text has no end"));
  EXPECT_TRUE(contains(with_source({1, 256, 2, 256, 3, 256}), "more than the 2 texts"));
  EXPECT_TRUE(contains(with_source({256}), "2 texts in 1 tokens"));
  EXPECT_TRUE(contains(with_source({}), "2 texts in 0 tokens"));
}

TEST_F(PreparePairs, DamagedShardsAreFound) {
  prepare_pairs(options("byte", "abc\nde\n", "1\n23\n", 0));
  const std::string path = folder_ / "out/train-target-00000.heddle", good = read_bytes(path);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    folder_.write("out/train-target-00000.heddle", bad);
    ASSERT_NE(message_of([&] { open(); }), "") << "byte " << i;
  }
}

}  // namespace
}  // namespace heddle
