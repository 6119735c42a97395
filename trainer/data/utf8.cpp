#include "trainer/data/utf8.h"

#include <fmt/format.h>

#include <cstring>

namespace heddle {
namespace {

bool is_continuation(unsigned char byte) {
  return (byte & 0xC0) == 0x80;
}

}  // namespace

std::size_t utf8_length_at(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) -> unsigned char {
    return position + i < text.size() ? static_cast<unsigned char>(text[position + i]) : 0;
  };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return position < text.size() ? 1 : 0;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  if (lead < 0xE0) return is_continuation(byte(1)) ? 2 : 0;
  // The second byte's range excludes overlong forms (E0, F0), surrogates (ED) and what is above U+10FFFF
  // (F4).
  const unsigned char lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < lowest || byte(1) > highest || !is_continuation(byte(2))) return 0;
  if (lead < 0xF0) return 3;
  return is_continuation(byte(3)) ? 4 : 0;
}

std::size_t find_invalid_utf8(std::string_view text, std::size_t from) {
  std::size_t position = from;
  while (position < text.size()) {
    std::uint64_t eight_bytes;
    if (position + 8 <= text.size()) {
      std::memcpy(&eight_bytes, text.data() + position, 8);
      if ((eight_bytes & 0x8080808080808080u) == 0) {
        position += 8;
        continue;
      }
    }
    const std::size_t length = utf8_length_at(text, position);
    if (length == 0) return position;
    position += length;
  }
  return text.size();
}

char32_t next_code_point(std::string_view text, std::size_t& position) {
  const auto continuation = [&](std::size_t i) {
    return static_cast<unsigned char>(text[position + i]) & 0x3Fu;
  };
  const unsigned char lead = static_cast<unsigned char>(text[position]);
  char32_t code_point;
  if (lead < 0x80) {
    code_point = lead;
    position += 1;
  } else if (lead < 0xE0) {
    code_point = (lead & 0x1Fu) << 6 | continuation(1);
    position += 2;
  } else if (lead < 0xF0) {
    code_point = (lead & 0x0Fu) << 12 | continuation(1) << 6 | continuation(2);
    position += 3;
  } else {
    code_point = (lead & 0x07u) << 18 | continuation(1) << 12 | continuation(2) << 6 | continuation(3);
    position += 4;
  }
  return code_point;
}

void append_utf8(std::string& text, char32_t code_point) {
  const auto push = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xC0 | code_point >> 6);
    push(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    push(0xE0 | code_point >> 12);
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  } else {
    push(0xF0 | code_point >> 18);
    push(0x80 | (code_point >> 12 & 0x3F));
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  }
}

std::int64_t count_characters(std::string_view text) {
  std::int64_t count = 0;
  for (const char c : text) count += !is_continuation(static_cast<unsigned char>(c));
  return count;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string escape_for_display(std::string_view text) {
  std::string shown;
  for (std::size_t position = 0; position < text.size();) {
    if (utf8_length_at(text, position) == 0) {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[position++]));
      continue;
    }
    const std::size_t start = position;
    const char32_t c = next_code_point(text, position);
    if (c == '\n') {
      shown += "\\n";
    } else if (c == '\t') {
      shown += "\\t";
    } else if (c == '\r') {
      shown += "\\r";
    } else if (c == '\\') {
      shown += "\\\\";
    } else if (c < 0x20 || c == 0x7F) {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else if ((c >= 0x80 && c < 0xA0) || (c != ' ' && is_white_space(c)) || (c >= 0x200B && c <= 0x200F) ||
               (c >= 0x202A && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF) {
      // Invisible characters and those that change the writing direction of the line.
      shown += fmt::format("\\u{{{:x}}}", static_cast<unsigned>(c));
    } else {
      shown += text.substr(start, position - start);
    }
  }
  return shown;
}

}  // namespace heddle
