#include "trainer/data/tokenizers/tokenizer.h"

#include <filesystem>

#include "kernels/error.h"
#include "trainer/data/json_fields.h"
#include "trainer/data/tokenizers/bpe_files.h"
#include "trainer/data/tokenizers/byte_tokenizer.h"
#include "trainer/data/tokenizers/character_tokenizer.h"
#include "trainer/data/tokenizers/word_tokenizer.h"
#include "trainer/files.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxTokenizerFileBytes = std::uint64_t{1} << 28;

std::unique_ptr<Tokenizer> load_json(const std::string& path) {
  const nlohmann::json file = read_json_file(path, kMaxTokenizerFileBytes);
  if (!file.is_object()) throw error("{} is not a tokenizer: it holds no JSON object", path);
  if (file.contains("model")) return std::make_unique<BpeTokenizer>(parse_tokenizer_json(file, path), path);
  if (!file.contains("heddle_tokenizer")) {
    throw error("{} is not a tokenizer: it has neither \"model\" (Hugging Face) nor \"heddle_tokenizer\"",
                path);
  }
  const std::string kind = json_string(file, "heddle_tokenizer", path);
  if (kind == "byte") return parse_byte_tokenizer(file, path);
  if (kind == "character") return parse_character_tokenizer(file, path);
  if (kind == "word") return parse_word_tokenizer(file, path);
  throw error("{}: unknown kind of tokenizer \"{}\"", path, kind);
}

// The two files of a GPT-2 tokenizer under the names that OpenAI and Hugging Face gave them.
struct FilePair {
  const char *vocabulary, *merges;
};
constexpr FilePair kFilePairs[] = {{"encoder.json", "vocab.bpe"}, {"vocab.json", "merges.txt"}};

std::unique_ptr<Tokenizer> load_pair(const fs::path& folder, const FilePair& pair) {
  const std::string vocabulary = (folder / pair.vocabulary).string(),
                    merges = (folder / pair.merges).string();
  return std::make_unique<BpeTokenizer>(read_gpt2_files(vocabulary, merges), vocabulary);
}

std::unique_ptr<Tokenizer> load_folder(const fs::path& folder) {
  if (fs::exists(folder / "tokenizer.json")) return load_json((folder / "tokenizer.json").string());
  for (const FilePair& pair : kFilePairs) {
    if (fs::exists(folder / pair.vocabulary)) return load_pair(folder, pair);
  }
  throw error("the folder {} holds no tokenizer (tokenizer.json, or encoder.json and vocab.bpe)",
              folder.string());
}

}  // namespace

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  encode(text, ids);
  return ids;
}

std::string_view Tokenizer::token_bytes(std::int32_t id) const {
  if (id < 0 || id >= vocabulary_size()) {
    throw error("token id {} is outside the tokenizer's vocabulary of {}", id, vocabulary_size());
  }
  return bytes_of(id);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  for (const std::int32_t id : ids) text += token_bytes(id);
  return text;
}

std::string Tokenizer::hash() const {
  Fingerprint fingerprint;
  fingerprint.string("heddle tokenizer 1");
  fingerprint.string(kind());
  fingerprint.number(static_cast<std::uint64_t>(vocabulary_size()));
  for (std::int32_t id = 0; id < vocabulary_size(); ++id) {
    fingerprint.string(bytes_of(id));
    fingerprint.number(is_special(id));
  }
  fingerprint.number(static_cast<std::uint64_t>(end_of_text().value_or(-1)));
  add_to_hash(fingerprint);
  return fingerprint.hex();
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) throw error("the tokenizer {} does not exist", path);
  if (fs::is_directory(path, ignored)) return load_folder(path);
  const fs::path file(path);
  for (const FilePair& pair : kFilePairs) {
    if (file.filename() == pair.vocabulary || file.filename() == pair.merges)
      return load_pair(file.parent_path(), pair);
  }
  return load_json(path);
}

void save_tokenizer(const Tokenizer& tokenizer, const std::string& path) {
  write_file_atomically(path, tokenizer.serialize());
}

std::vector<std::int32_t> token_byte_lengths(const Tokenizer& tokenizer) {
  if (!tokenizer.keeps_text()) return {};
  std::vector<std::int32_t> lengths(static_cast<std::size_t>(tokenizer.vocabulary_size()));
  for (std::int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (!tokenizer.is_special(id)) lengths[id] = static_cast<std::int32_t>(tokenizer.token_bytes(id).size());
  }
  return lengths;
}

}  // namespace heddle
