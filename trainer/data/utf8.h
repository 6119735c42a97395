// UTF-8 by the Unicode standard's table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace heddle {

// Bytes of the well-formed character that starts at text[position]: 1 to 4, or 0 if none does.
std::size_t utf8_length_at(std::string_view text, std::size_t position);

// The first position at or after `from` where no well-formed character starts; text.size() if all is
// well-formed.
std::size_t find_invalid_utf8(std::string_view text, std::size_t from = 0);

// The character at `position`, which must be well-formed; advances `position` past it.
char32_t next_code_point(std::string_view text, std::size_t& position);

void append_utf8(std::string& text, char32_t code_point);

// Bytes that begin a character, that is all but continuation bytes: the number of characters if `text` is
// UTF-8.
std::int64_t count_characters(std::string_view text);

// Unicode property White_Space, which is what \s means in the pre-tokenizers' patterns.
bool is_white_space(char32_t code_point);

// `text` for a terminal: printable characters as they are, others (also space-like and invalid bytes) as \n,
// \t, \r,
// \\, \xNN or \u{N}.
std::string escape_for_display(std::string_view text);

}  // namespace heddle
