// dataset.json: what a folder of prepared data holds.
//
// Text: beside it lie tokenizer.json and the shards, train-00000.heddle ... and validation-00000.heddle ... .
//
// Pairs of texts: the shards are train-source-00000.heddle ..., train-target-00000.heddle ... and the same of
// validation; document i of a source split belongs to document i of the target split, and each ends with its
// tokenizer's end-of-text token. One tokenizer of both sides is tokenizer.json; two are source_tokenizer.json
// and target_tokenizer.json.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/data/token_dataset.h"
#include "trainer/data/tokenizers/tokenizer.h"

namespace heddle {

struct DatasetSplit {
  struct Shard {
    std::string file;  // a plain name in the same folder
    std::int64_t tokens = 0;
    std::string hash;  // XXH3-128 of its ids, as in its header
  };
  std::int64_t tokens = 0;
  std::int64_t documents = 0;
  std::int64_t bytes = 0;  // of text: a loss per token times tokens / bytes / ln 2 is bits per byte
  std::vector<Shard> shards;
};

struct DatasetTokenizer {
  std::string kind;
  std::string hash;
  std::int64_t vocabulary_size = 0;
};

struct DatasetPairs {
  std::int64_t read = 0;                             // pairs of lines
  std::int64_t empty = 0;                            // of these, left out because a side had no text
  std::optional<DatasetTokenizer> target_tokenizer;  // if the sides have one each
};

struct DatasetManifest {
  std::string
      fingerprint;  // of the inputs' content and the settings: equal means nothing is to be done again
  std::string tokenizer_kind;  // of pairs with two tokenizers, the source's
  std::string tokenizer_hash;
  std::int64_t vocabulary_size = 0;
  std::optional<DatasetPairs> pairs;  // if it holds pairs
  std::map<std::string, DatasetSplit>
      splits;  // "train" and mostly "validation"; of pairs, pair_split() of these
};

constexpr const char* kDatasetManifestName = "dataset.json";
constexpr const char* kDatasetTokenizerName = "tokenizer.json";
constexpr const char* kDatasetSourceTokenizerName = "source_tokenizer.json";
constexpr const char* kDatasetTargetTokenizerName = "target_tokenizer.json";
constexpr const char* kTrainSplit = "train";
constexpr const char* kValidationSplit = "validation";

enum class PairSide : std::uint8_t { source, target };

// "train-source" of "train".
std::string pair_split(const std::string& split, PairSide side);

// The tokenizer files that belong to the folder, the target's last.
std::vector<std::string> tokenizer_files(const DatasetManifest& manifest);

bool is_prepared_folder(const std::string& folder);  // has a dataset.json

// Throws Error naming the file.
DatasetManifest read_manifest(const std::string& folder);
void write_manifest(const std::string& folder, const DatasetManifest& manifest);

// Opens a split's shards and checks them against the manifest. Throws Error if there is no such split.
TokenDataset open_split(const std::string& folder, const DatasetManifest& manifest, const std::string& split);

// The folder's tokenizer (of pairs, the source's), checked to be the one that made the shards.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder, const DatasetManifest& manifest);
// The tokenizer of the target side of pairs, whether or not it is the source's too.
std::unique_ptr<Tokenizer> open_target_tokenizer(const std::string& folder, const DatasetManifest& manifest);

}  // namespace heddle
