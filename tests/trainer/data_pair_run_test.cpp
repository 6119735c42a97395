// The pairs of a run from its options: where they are prepared, what is opened, the model's vocabularies.
#include <gtest/gtest.h>

#include "tests/trainer/data_testing.h"
#include "trainer/data/pair_run_data.h"

namespace heddle {
namespace {

using namespace data_testing;

class PairRunDataTest : public testing::Test {
 protected:
  PairRunDataTest() {
    options_.source = {folder_.write("train.en", "a\nb\nc\nd\n")};
    options_.target = {folder_.write("train.de.gz", gzip("1\n2\n3\n4\n"))};
    options_.tokenizer = "byte";
    options_.validation_fraction = 0.25;
  }
  static std::string failure(const DataOptions& options) {
    return message_of([&] { prepared_pairs_folder(options); });
  }
  PairRunData prepared() {
    options_.data_folder = folder_ / "out";
    prepare_pair_run_data(options_);
    return PairRunData::open(options_);
  }

  TemporaryFolder folder_;
  DataOptions options_;
};

TEST(PairRunData, TheFolderIsNamedAfterFilesAndTokenizers) {
  DataOptions options;
  options.source = {"corpora/news/train.en"};
  options.target = {"corpora/news/train.de.gz"};
  options.tokenizer = "byte";
  EXPECT_EQ(prepared_pairs_folder(options), "data/news-train.en-train.de-byte");
  options.tokenizer = "bpe";
  options.bpe_vocabulary = 8000;
  EXPECT_EQ(prepared_pairs_folder(options), "data/news-train.en-train.de-bpe8000");
  options.joint_vocabulary = false;
  EXPECT_EQ(prepared_pairs_folder(options), "data/news-train.en-train.de-bpe8000-bpe8000");
  options.target_tokenizer = "tokenizers/german/";
  EXPECT_EQ(prepared_pairs_folder(options), "data/news-train.en-train.de-bpe8000-german");
  options.source = {"../train.en"};
  EXPECT_EQ(prepared_pairs_folder(options), "data/train.en-train.de-bpe8000-german");
  options.data_folder = "elsewhere";
  EXPECT_EQ(prepared_pairs_folder(options), "elsewhere");
  DataOptions tabs;
  tabs.pairs = {"a/b.tsv.zst"};
  EXPECT_EQ(prepared_pairs_folder(tabs), "data/a-b.tsv-bpe8192");
}

TEST_F(PairRunDataTest, OpensWhatItPrepared) {
  const PairRunData data = prepared();
  EXPECT_EQ(data.train.size(), 3);
  ASSERT_TRUE(data.validation);
  EXPECT_EQ(data.validation->size(), 1);
  EXPECT_TRUE(data.joint);
  EXPECT_EQ(data.source_tokenizer->hash(), data.target_tokenizer->hash());
  options_.validation_fraction = 0;
  options_.joint_vocabulary = false;
  const PairRunData other = prepared();
  EXPECT_FALSE(other.validation);
  EXPECT_FALSE(other.joint);
  // The folder alone.
  DataOptions folder;
  folder.data = {folder_ / "out"};
  prepare_pair_run_data(folder);
  EXPECT_EQ(PairRunData::open(folder).train.size(), 4);
}

TEST_F(PairRunDataTest, SettlesBothVocabularies) {
  options_.target_tokenizer = "bpe";
  options_.joint_vocabulary = false;
  const PairRunData data = prepared();
  ModelOptions model;
  model.share_embeddings = false;
  settle_vocabulary(model, data);
  EXPECT_EQ(model.source_vocabulary_size, 257);
  EXPECT_EQ(model.vocabulary_size, data.target_tokenizer->vocabulary_size());
  model.source_vocabulary_size = 300;
  settle_vocabulary(model, data);
  EXPECT_EQ(model.source_vocabulary_size, 300);
  model.source_vocabulary_size = 256;
  EXPECT_NE(message_of([&] { settle_vocabulary(model, data); }).find("source_vocabulary_size = 256"),
            std::string::npos);
  model.source_vocabulary_size = 0;
  model.share_embeddings = true;
  EXPECT_NE(message_of([&] { settle_vocabulary(model, data); }).find("share_embeddings"), std::string::npos);
}

TEST_F(PairRunDataTest, SaysWhatIsMissingOrTooMuch) {
  EXPECT_NE(failure({}).find("no pairs of texts"), std::string::npos);
  DataOptions text;
  text.data = {folder_.write("a.txt", "text")};
  EXPECT_NE(failure(text).find("no pairs of texts"), std::string::npos);
  options_.data = {"a.txt"};
  EXPECT_NE(failure(options_).find("--data = a.txt beside"), std::string::npos);
  options_.data = {};
  options_.source = {};
  EXPECT_NE(message_of([&] { prepare_pair_run_data(options_); }).find("0 source and 1 target"),
            std::string::npos);
}

}  // namespace
}  // namespace heddle
