#include "trainer/data/tokenizers/character_tokenizer.h"

#include <algorithm>
#include <bitset>

#include "kernels/error.h"
#include "trainer/data/json_fields.h"
#include "trainer/data/utf8.h"

namespace heddle {

CharacterTokenizer::CharacterTokenizer(const std::set<char32_t>& alphabet) {
  for (const char32_t character : alphabet) {
    ids_.emplace(character, static_cast<std::int32_t>(characters_.size()));
    append_utf8(characters_.emplace_back(), character);
  }
}

void CharacterTokenizer::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  const std::size_t bad = find_invalid_utf8(text);
  if (bad < text.size())
    throw error("byte {} of the text is not UTF-8; a character tokenizer needs UTF-8", bad);
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t start = position;
    const char32_t character = next_code_point(text, position);
    const auto found = ids_.find(character);
    if (found == ids_.end()) {
      throw error("the character '{}' (U+{:04X}) is not in the character tokenizer's alphabet of {}; {}",
                  escape_for_display(text.substr(start, position - start)), static_cast<unsigned>(character),
                  characters_.size(), "learn the tokenizer from text that has it, or use a byte-level one");
    }
    ids.push_back(found->second);
  }
}

std::string CharacterTokenizer::serialize() const {
  nlohmann::ordered_json file;
  file["heddle_tokenizer"] = "character";
  file["version"] = 1;
  file["characters"] = characters_;
  return file.dump() + "\n";
}

void collect_characters(std::string_view text, std::set<char32_t>& alphabet) {
  // Nearly all characters are seen again and again; only new ones go to the set.
  std::bitset<0x10000> seen;
  for (std::size_t position = 0; position < text.size();) {
    const char32_t character = next_code_point(text, position);
    if (character < seen.size()) {
      if (seen[character]) continue;
      seen[character] = true;
    }
    alphabet.insert(character);
  }
}

std::unique_ptr<Tokenizer> parse_character_tokenizer(const nlohmann::json& file, const std::string& name) {
  json_integer(file, "version", name, 1, 1);
  const nlohmann::json& characters = json_member(file, "characters", name);
  if (!characters.is_array() || characters.empty()) throw error("{}: \"characters\" is not a list", name);
  std::set<char32_t> alphabet;
  for (const nlohmann::json& entry : characters) {
    const std::string text = entry.is_string() ? entry.get<std::string>() : "";
    if (text.empty() || utf8_length_at(text, 0) != text.size()) {
      throw error("{}: {} in \"characters\" is not one character", name, entry.dump());
    }
    std::size_t position = 0;
    const char32_t character = next_code_point(text, position);
    // The order is the order of the ids, so it has to be the one this tokenizer will give them.
    if (!alphabet.empty() && character <= *alphabet.rbegin()) {
      throw error("{}: {} in \"characters\" is not in code point order, or twice there", name, entry.dump());
    }
    alphabet.insert(character);
  }
  return std::make_unique<CharacterTokenizer>(alphabet);
}

}  // namespace heddle
