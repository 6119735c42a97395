// The tokens of a text, for people: what `heddle tokenize` prints.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/tokenizers/tokenizer.h"

namespace heddle {

struct TokenizeReport {
  struct Token {
    std::int32_t id;
    std::size_t begin, end;  // bytes [begin, end) of the text; 0 if the tokenizer does not keep the text
    std::string shown;       // the token's bytes, escaped for a terminal
  };
  std::vector<Token> tokens;
  std::size_t bytes = 0, characters = 0;  // of the text
  bool knows_places = true;               // of the tokens in the text

  double tokens_per_byte() const {
    return bytes ? static_cast<double>(tokens.size()) / static_cast<double>(bytes) : 0;
  }
};

TokenizeReport tokenize_report(const Tokenizer& tokenizer, std::string_view text);

// The text on one line with | between tokens ("the| cat| sat\n"), and the counts below.
std::string format_boundaries(const TokenizeReport& report);
// One line per token: its number, id, first byte (- where that is not known) and text.
std::string format_table(const TokenizeReport& report);

}  // namespace heddle
