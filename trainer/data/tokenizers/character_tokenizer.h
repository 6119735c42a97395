// Unicode characters as tokens, in code point order, as nanoGPT's character-level example does it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <set>
#include <unordered_map>

#include "trainer/data/tokenizers/tokenizer.h"

namespace heddle {

class CharacterTokenizer : public Tokenizer {
 public:
  explicit CharacterTokenizer(const std::set<char32_t>& alphabet);

  std::string kind() const override { return "character"; }
  std::int32_t vocabulary_size() const override { return static_cast<std::int32_t>(characters_.size()); }
  std::optional<std::int32_t> end_of_text() const override { return std::nullopt; }
  using Tokenizer::encode;
  // Throws Error if `text` is not UTF-8 or holds a character outside the alphabet.
  void encode(std::string_view text, std::vector<std::int32_t>& ids) const override;
  bool is_special(std::int32_t) const override { return false; }
  bool requires_utf8() const override { return true; }
  bool works_on_pieces() const override { return true; }
  std::string serialize() const override;

 protected:
  std::string_view bytes_of(std::int32_t id) const override { return characters_[id]; }
  void add_to_hash(Fingerprint&) const override {}

 private:
  std::vector<std::string> characters_;  // UTF-8
  std::unordered_map<char32_t, std::int32_t> ids_;
};

// Adds the characters of `text`, which must be UTF-8, to `alphabet`.
void collect_characters(std::string_view text, std::set<char32_t>& alphabet);

std::unique_ptr<Tokenizer> parse_character_tokenizer(const nlohmann::json& file, const std::string& name);

}  // namespace heddle
