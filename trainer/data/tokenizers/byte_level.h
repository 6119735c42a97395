// GPT-2's alphabet: each byte shown as one printable character, so that a vocabulary of byte strings can be
// kept in JSON and text files. Bytes 33-126, 161-172 and 174-255 are themselves (Latin-1); the other 68, in
// order, are U+0100 and up: the space is U+0120, the line feed U+010A.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace heddle {

std::string to_byte_level(std::string_view bytes);

// False if `text` is not UTF-8 or has a character outside the alphabet.
bool from_byte_level(std::string_view text, std::string& bytes);

// All bytes in the order of their characters, which is the order of GPT-2's first 256 ids: 33.., 161..,
// 174.., 0.. .
const std::array<std::uint8_t, 256>& byte_level_order();

}  // namespace heddle
