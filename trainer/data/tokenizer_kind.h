// What the option `tokenizer` names: a kind that a preparation makes, or a file.
#pragma once

#include <cstdint>
#include <string>

namespace heddle {

enum class TokenizerKind : std::uint8_t { byte, character, bpe, file, word };

inline TokenizerKind tokenizer_kind(const std::string& tokenizer) {
  if (tokenizer == "byte") return TokenizerKind::byte;
  if (tokenizer == "char" || tokenizer == "character") return TokenizerKind::character;
  if (tokenizer == "bpe") return TokenizerKind::bpe;
  if (tokenizer == "word") return TokenizerKind::word;
  return TokenizerKind::file;
}

}  // namespace heddle
