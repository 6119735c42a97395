#include "trainer/data/tokenizers/word_tokenizer.h"

#include <algorithm>

#include "kernels/error.h"
#include "trainer/data/json_fields.h"
#include "trainer/data/utf8.h"
#include "trainer/files.h"

namespace heddle {
namespace {

constexpr std::string_view kSpecialNames[] = {"<unk>", "</s>"};

bool has_white_space(std::string_view word) {
  for (std::size_t position = 0; position < word.size();)
    if (is_white_space(next_code_point(word, position))) return true;
  return false;
}

bool is_word(std::string_view text) {
  return !text.empty() && find_invalid_utf8(text) == text.size() && !has_white_space(text) &&
         std::find(std::begin(kSpecialNames), std::end(kSpecialNames), text) == std::end(kSpecialNames);
}

}  // namespace

WordTokenizer::WordTokenizer(WordModel model, const std::string& source)
    : model_(std::move(model)), splitter_(model_.lowercase) {
  if (model_.words.size() > static_cast<std::size_t>(kMaxVocabularySize - kFirstWord))
    throw error("{}: {} words are too many, at most {} are possible", source, model_.words.size(),
                kMaxVocabularySize - kFirstWord);
  for (const std::string& word : model_.words) {
    if (!is_word(word)) throw error("{}: {} cannot be a word of the vocabulary", source, printable(word));
    if (!ids_.emplace(word, kFirstWord + static_cast<std::int32_t>(ids_.size())).second)
      throw error("{}: the word {} is twice in the vocabulary", source, printable(word));
  }
}

std::int32_t WordTokenizer::vocabulary_size() const {
  return kFirstWord + static_cast<std::int32_t>(model_.words.size());
}

std::string_view WordTokenizer::bytes_of(std::int32_t id) const {
  return id < kFirstWord ? kSpecialNames[id] : std::string_view(model_.words[id - kFirstWord]);
}

void WordTokenizer::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  splitter_.for_each_word(text, [&](std::string_view word) {
    const auto found = ids_.find(word);
    ids.push_back(found == ids_.end() ? kUnknown : found->second);
  });
}

std::string WordTokenizer::decode(std::span<const std::int32_t> ids) const {
  std::vector<std::string_view> words;
  for (const std::int32_t id : ids) words.push_back(token_bytes(id));
  return join_words(words);
}

std::string WordTokenizer::spaced_words(std::string_view text) const {
  std::string words;
  splitter_.for_each_word(text, [&](std::string_view word) {
    if (!words.empty()) words += ' ';
    words += word;
  });
  return words;
}

std::string WordTokenizer::spaced_words(std::span<const std::int32_t> ids) const {
  std::string words;
  for (const std::int32_t id : ids) {
    if (!words.empty()) words += ' ';
    words += token_bytes(id);
  }
  return words;
}

void WordTokenizer::add_to_hash(Fingerprint& fingerprint) const {
  fingerprint.string(kWordPattern);
  fingerprint.number(model_.lowercase);
}

std::string WordTokenizer::serialize() const {
  nlohmann::ordered_json file;
  file["heddle_tokenizer"] = "word";
  file["version"] = 1;
  file["lowercase"] = model_.lowercase;
  file["words"] = model_.words;
  return file.dump() + "\n";
}

std::unique_ptr<Tokenizer> parse_word_tokenizer(const nlohmann::json& file, const std::string& name) {
  json_integer(file, "version", name, 1, 1);
  WordModel model;
  model.lowercase = json_bool(file, "lowercase", name);
  const nlohmann::json& words = json_member(file, "words", name);
  if (!words.is_array()) throw error("{}: \"words\" is not a list", name);
  for (const nlohmann::json& word : words) {
    if (!word.is_string()) throw error("{}: {} in \"words\" is not a string", name, printable(word.dump()));
    model.words.push_back(word.get<std::string>());
  }
  return std::make_unique<WordTokenizer>(std::move(model), name);
}

}  // namespace heddle
