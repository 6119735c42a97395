#include "trainer/data/dataset_manifest.h"

#include <filesystem>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/json_fields.h"
#include "trainer/files.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{1} << 26;
constexpr const char* kFormat = "heddle dataset";

std::string in_folder(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

std::string hash_member(const json& object, const char* key, const std::string& name) {
  std::string hash = json_string(object, key, name);
  if (hash.size() != 32 || hash.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw error("{}: \"{}\" is not a hash of 32 hexadecimal digits", name, key);
  }
  return hash;
}

DatasetSplit::Shard parse_shard(const json& object, const std::string& name) {
  DatasetSplit::Shard shard{json_string(object, "file", name),
                            json_integer(object, "tokens", name, 0, INT64_MAX),
                            hash_member(object, "hash", name)};
  // A name from a file is never a path: it could lead out of the folder.
  if (shard.file.empty() || shard.file.starts_with('.') || shard.file.find('/') != std::string::npos ||
      shard.file.find('\0') != std::string::npos) {
    throw error("{}: {} is not the plain name of a file", name, printable(shard.file));
  }
  return shard;
}

DatasetSplit parse_split(const json& object, const std::string& name) {
  DatasetSplit split;
  split.tokens = json_integer(object, "tokens", name, 0, INT64_MAX);
  split.documents = json_integer(object, "documents", name, 0, INT64_MAX);
  split.bytes = json_integer(object, "bytes", name, 0, INT64_MAX);
  const json& shards = json_member(object, "shards", name);
  if (!shards.is_array()) throw error("{}: \"shards\" is not a list", name);
  std::int64_t left = split.tokens;
  for (const json& shard : shards) {
    split.shards.push_back(parse_shard(shard, name));
    if (split.shards.back().tokens > left)
      throw error("{}: the shards have more tokens than the split", name);
    left -= split.shards.back().tokens;
  }
  if (left != 0) throw error("{}: the shards have {} tokens less than the split", name, left);
  return split;
}

}  // namespace

bool is_prepared_folder(const std::string& folder) {
  std::error_code ignored;
  return fs::exists(fs::path(folder) / kDatasetManifestName, ignored);
}

DatasetManifest read_manifest(const std::string& folder) {
  const std::string name = in_folder(folder, kDatasetManifestName);
  const json file = read_json_file(name, kMaxManifestBytes);
  if (json_string(file, "format", name) != kFormat) throw error("{} is not a dataset of heddle", name);
  json_integer(file, "version", name, 1, 1);
  DatasetManifest manifest;
  manifest.fingerprint = hash_member(file, "fingerprint", name);
  const json& tokenizer = json_member(file, "tokenizer", name);
  manifest.tokenizer_kind = json_string(tokenizer, "kind", name);
  manifest.tokenizer_hash = hash_member(tokenizer, "hash", name);
  manifest.vocabulary_size = json_integer(tokenizer, "vocabulary_size", name, 1, kMaxVocabularySize);
  const json& splits = json_member(file, "splits", name);
  if (!splits.is_object()) throw error("{}: \"splits\" is not an object", name);
  for (const auto& [split_name, split] : splits.items())
    manifest.splits[split_name] = parse_split(split, name);
  return manifest;
}

void write_manifest(const std::string& folder, const DatasetManifest& manifest) {
  nlohmann::ordered_json file;
  file["format"] = kFormat;
  file["version"] = 1;
  file["fingerprint"] = manifest.fingerprint;
  file["tokenizer"] = {{"kind", manifest.tokenizer_kind},
                       {"hash", manifest.tokenizer_hash},
                       {"vocabulary_size", manifest.vocabulary_size}};
  for (const auto& [name, split] : manifest.splits) {
    nlohmann::ordered_json shards = nlohmann::ordered_json::array();
    for (const DatasetSplit::Shard& shard : split.shards) {
      shards.push_back({{"file", shard.file}, {"tokens", shard.tokens}, {"hash", shard.hash}});
    }
    file["splits"][name] = {
        {"tokens", split.tokens}, {"documents", split.documents}, {"bytes", split.bytes}, {"shards", shards}};
  }
  write_file_atomically(in_folder(folder, kDatasetManifestName), file.dump(2) + "\n");
}

TokenDataset open_split(const std::string& folder, const DatasetManifest& manifest,
                        const std::string& split) {
  const auto found = manifest.splits.find(split);
  if (found == manifest.splits.end()) {
    throw error("{} has no {} data; prepare it with a validation fraction or validation text", folder, split);
  }
  std::vector<TokenFile> files;
  for (const DatasetSplit::Shard& shard : found->second.shards) {
    const std::string path = in_folder(folder, shard.file);
    TokenFile file = open_token_file(path);
    if (!file.shard || file.shard->payload_hash != shard.hash || file.shard->tokens != shard.tokens ||
        file.shard->tokenizer_hash != manifest.tokenizer_hash ||
        file.shard->vocabulary_size != manifest.vocabulary_size) {
      throw error("{} is not the shard that {} describes; prepare the data again", path,
                  in_folder(folder, kDatasetManifestName));
    }
    files.push_back(std::move(file));
  }
  return TokenDataset(std::move(files));
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder, const DatasetManifest& manifest) {
  const std::string path = in_folder(folder, kDatasetTokenizerName);
  std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(path);
  if (tokenizer->hash() != manifest.tokenizer_hash) {
    throw error("{} is not the tokenizer that made the data beside it; prepare the data again", path);
  }
  return tokenizer;
}

}  // namespace heddle
