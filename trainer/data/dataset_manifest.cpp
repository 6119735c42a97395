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

DatasetTokenizer parse_tokenizer(const json& object, const std::string& name) {
  return {json_string(object, "kind", name), hash_member(object, "hash", name),
          json_integer(object, "vocabulary_size", name, 1, kMaxVocabularySize)};
}

nlohmann::ordered_json to_json(const DatasetTokenizer& tokenizer) {
  return {{"kind", tokenizer.kind}, {"hash", tokenizer.hash}, {"vocabulary_size", tokenizer.vocabulary_size}};
}

DatasetPairs parse_pairs(const json& object, const std::string& name) {
  DatasetPairs pairs;
  pairs.read = json_integer(object, "read", name, 0, INT64_MAX);
  pairs.empty = json_integer(object, "empty", name, 0, pairs.read);
  if (object.contains("target_tokenizer"))
    pairs.target_tokenizer = parse_tokenizer(json_member(object, "target_tokenizer", name), name);
  return pairs;
}

// Each source split has a target split of as many documents, and together they are the pairs that were not
// left out.
void check_pairs(const DatasetManifest& manifest, const std::string& name) {
  std::int64_t left = manifest.pairs->read - manifest.pairs->empty;
  std::size_t known = 0;
  for (const char* split : {kTrainSplit, kValidationSplit}) {
    const auto source = manifest.splits.find(pair_split(split, PairSide::source)),
               target = manifest.splits.find(pair_split(split, PairSide::target));
    const bool has_source = source != manifest.splits.end(), has_target = target != manifest.splits.end();
    if (has_source != has_target)
      throw error("{}: the {} split has {}", name, split, has_source ? "no target side" : "no source side");
    if (!has_source) continue;
    known += 2;
    if (source->second.documents != target->second.documents) {
      throw error("{}: the {} split has {} source and {} target documents", name, split,
                  source->second.documents, target->second.documents);
    }
    if (source->second.documents > left)
      throw error("{}: the splits have more documents than there are pairs", name);
    left -= source->second.documents;
  }
  if (known != manifest.splits.size())
    throw error("{}: pairs have a train and a validation split only", name);
  if (left != 0) throw error("{}: the splits have {} documents less than there are pairs", name, left);
}

// Whose hash and vocabulary the shards of a split have.
DatasetTokenizer tokenizer_of(const DatasetManifest& manifest, const std::string& split) {
  if (manifest.pairs && manifest.pairs->target_tokenizer &&
      (split == pair_split(kTrainSplit, PairSide::target) ||
       split == pair_split(kValidationSplit, PairSide::target))) {
    return *manifest.pairs->target_tokenizer;
  }
  return {manifest.tokenizer_kind, manifest.tokenizer_hash, manifest.vocabulary_size};
}

std::unique_ptr<Tokenizer> open_checked(const std::string& path, const std::string& hash) {
  std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(path);
  if (tokenizer->hash() != hash) {
    throw error("{} is not the tokenizer that made the data beside it; prepare the data again", path);
  }
  return tokenizer;
}

}  // namespace

std::string pair_split(const std::string& split, PairSide side) {
  return split + (side == PairSide::source ? "-source" : "-target");
}

std::vector<std::string> tokenizer_files(const DatasetManifest& manifest) {
  if (!manifest.pairs || !manifest.pairs->target_tokenizer) return {kDatasetTokenizerName};
  return {kDatasetSourceTokenizerName, kDatasetTargetTokenizerName};
}

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
  const DatasetTokenizer tokenizer = parse_tokenizer(json_member(file, "tokenizer", name), name);
  manifest.tokenizer_kind = tokenizer.kind;
  manifest.tokenizer_hash = tokenizer.hash;
  manifest.vocabulary_size = tokenizer.vocabulary_size;
  if (file.contains("pairs")) manifest.pairs = parse_pairs(json_member(file, "pairs", name), name);
  const json& splits = json_member(file, "splits", name);
  if (!splits.is_object()) throw error("{}: \"splits\" is not an object", name);
  for (const auto& [split_name, split] : splits.items())
    manifest.splits[split_name] = parse_split(split, name);
  if (manifest.pairs) check_pairs(manifest, name);
  return manifest;
}

void write_manifest(const std::string& folder, const DatasetManifest& manifest) {
  nlohmann::ordered_json file;
  file["format"] = kFormat;
  file["version"] = 1;
  file["fingerprint"] = manifest.fingerprint;
  file["tokenizer"] = to_json({manifest.tokenizer_kind, manifest.tokenizer_hash, manifest.vocabulary_size});
  if (manifest.pairs) {
    file["pairs"] = {{"read", manifest.pairs->read}, {"empty", manifest.pairs->empty}};
    if (manifest.pairs->target_tokenizer)
      file["pairs"]["target_tokenizer"] = to_json(*manifest.pairs->target_tokenizer);
  }
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
    if (manifest.pairs && manifest.splits.contains(pair_split(split, PairSide::source)))
      throw error("{} holds pairs of texts, which only a model with an encoder and a decoder reads", folder);
    throw error("{} has no {} data; prepare it with a validation fraction or validation text", folder, split);
  }
  const DatasetTokenizer tokenizer = tokenizer_of(manifest, split);
  std::vector<TokenFile> files;
  for (const DatasetSplit::Shard& shard : found->second.shards) {
    const std::string path = in_folder(folder, shard.file);
    TokenFile file = open_token_file(path);
    if (!file.shard || file.shard->payload_hash != shard.hash || file.shard->tokens != shard.tokens ||
        file.shard->tokenizer_hash != tokenizer.hash ||
        file.shard->vocabulary_size != tokenizer.vocabulary_size) {
      throw error("{} is not the shard that {} describes; prepare the data again", path,
                  in_folder(folder, kDatasetManifestName));
    }
    files.push_back(std::move(file));
  }
  return TokenDataset(std::move(files));
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder, const DatasetManifest& manifest) {
  return open_checked(in_folder(folder, tokenizer_files(manifest).front()), manifest.tokenizer_hash);
}

std::unique_ptr<Tokenizer> open_target_tokenizer(const std::string& folder, const DatasetManifest& manifest) {
  const bool own = manifest.pairs && manifest.pairs->target_tokenizer;
  return open_checked(in_folder(folder, tokenizer_files(manifest).back()),
                      own ? manifest.pairs->target_tokenizer->hash : manifest.tokenizer_hash);
}

}  // namespace heddle
