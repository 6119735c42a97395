// Words as tokens, for word-level translation models. What is not in the vocabulary is one id, <unk>, and
// white space is not kept: decode(encode(text)) is a text like it, not the same one.
//
//   0 <unk>   1 </s>, the end of a text   2.. the words of the model
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <unordered_map>

#include "trainer/data/tokenizers/tokenizer.h"
#include "trainer/data/tokenizers/word_splitter.h"

namespace heddle {

// What the file and the trainer produce.
struct WordModel {
  std::vector<std::string> words;  // in the order of the ids
  bool lowercase = false;
};

class WordTokenizer : public Tokenizer {
 public:
  static constexpr std::int32_t kUnknown = 0, kEndOfText = 1, kFirstWord = 2;

  // Throws Error, naming `source`, if a word is empty, not UTF-8, holds white space, is twice there or has a
  // special token's name, or if there are too many.
  WordTokenizer(WordModel model, const std::string& source);
  WordTokenizer(const WordTokenizer&) = delete;  // ids_ points at the words
  WordTokenizer& operator=(const WordTokenizer&) = delete;

  const WordModel& model() const { return model_; }
  // The words of a text as encode() finds them, or of ids, with one blank between each two: what
  // torchtext-like BLEU is computed on. A text's words are its own, also those that are not in the
  // vocabulary.
  std::string spaced_words(std::string_view text) const;
  std::string spaced_words(std::span<const std::int32_t> ids) const;

  std::string kind() const override { return "word"; }
  std::int32_t vocabulary_size() const override;
  std::optional<std::int32_t> end_of_text() const override { return kEndOfText; }
  using Tokenizer::encode;
  // Throws Error if `text` is not UTF-8.
  void encode(std::string_view text, std::vector<std::int32_t>& ids) const override;
  std::string decode(std::span<const std::int32_t> ids) const override;
  bool keeps_text() const override { return false; }
  bool is_special(std::int32_t id) const override { return id == kEndOfText; }
  bool requires_utf8() const override { return true; }
  bool works_on_pieces() const override { return true; }
  std::string serialize() const override;

 protected:
  std::string_view bytes_of(std::int32_t id) const override;
  void add_to_hash(Fingerprint& fingerprint) const override;

 private:
  WordModel model_;
  WordSplitter splitter_;
  std::unordered_map<std::string_view, std::int32_t> ids_;  // of model_.words
};

std::unique_ptr<Tokenizer> parse_word_tokenizer(const nlohmann::json& file, const std::string& name);

}  // namespace heddle
