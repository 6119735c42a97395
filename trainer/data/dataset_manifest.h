// dataset.json: what a folder of prepared data holds. Beside it lie tokenizer.json and the shards,
// train-00000.heddle ... and validation-00000.heddle ... .
#pragma once

#include <cstdint>
#include <map>
#include <memory>
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

struct DatasetManifest {
  std::string
      fingerprint;  // of the inputs' content and the settings: equal means nothing is to be done again
  std::string tokenizer_kind;
  std::string tokenizer_hash;
  std::int64_t vocabulary_size = 0;
  std::map<std::string, DatasetSplit> splits;  // "train" and mostly "validation"
};

constexpr const char* kDatasetManifestName = "dataset.json";
constexpr const char* kDatasetTokenizerName = "tokenizer.json";
constexpr const char* kTrainSplit = "train";
constexpr const char* kValidationSplit = "validation";

bool is_prepared_folder(const std::string& folder);  // has a dataset.json

// Throws Error naming the file.
DatasetManifest read_manifest(const std::string& folder);
void write_manifest(const std::string& folder, const DatasetManifest& manifest);

// Opens a split's shards and checks them against the manifest. Throws Error if there is no such split.
TokenDataset open_split(const std::string& folder, const DatasetManifest& manifest, const std::string& split);

// The folder's tokenizer, checked to be the one that made the shards.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder, const DatasetManifest& manifest);

}  // namespace heddle
