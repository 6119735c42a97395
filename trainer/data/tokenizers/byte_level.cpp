#include "trainer/data/tokenizers/byte_level.h"

#include "trainer/data/utf8.h"

namespace heddle {
namespace {

constexpr char32_t kAlphabetEnd = 0x100 + 68;

struct Alphabet {
  std::array<char32_t, 256> character_of{};
  std::array<int, kAlphabetEnd> byte_of{};  // -1: not in the alphabet
  std::array<std::uint8_t, 256> order{};

  Alphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
      character_of[byte] = printable ? static_cast<char32_t>(byte) : next++;
      byte_of[character_of[byte]] = byte;
    }
    std::size_t count = 0;
    for (const int byte : byte_of) {
      if (byte >= 0) order[count++] = static_cast<std::uint8_t>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

std::string to_byte_level(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_utf8(text, alphabet().character_of[static_cast<unsigned char>(byte)]);
  return text;
}

bool from_byte_level(std::string_view text, std::string& bytes) {
  bytes.clear();
  for (std::size_t position = 0; position < text.size();) {
    if (utf8_length_at(text, position) == 0) return false;
    const char32_t character = next_code_point(text, position);
    if (character >= kAlphabetEnd || alphabet().byte_of[character] < 0) return false;
    bytes += static_cast<char>(alphabet().byte_of[character]);
  }
  return true;
}

const std::array<std::uint8_t, 256>& byte_level_order() {
  return alphabet().order;
}

}  // namespace heddle
