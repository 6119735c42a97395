#include "trainer/data/tokenizers/byte_tokenizer.h"

#include <fmt/format.h>

#include <array>

#include "trainer/data/json_fields.h"

namespace heddle {

std::optional<std::int32_t> ByteTokenizer::end_of_text() const {
  return with_end_of_text_ ? std::optional<std::int32_t>(256) : std::nullopt;
}

void ByteTokenizer::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  ids.reserve(ids.size() + text.size());
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
}

std::string_view ByteTokenizer::bytes_of(std::int32_t id) const {
  static const std::array<char, 256> all_bytes = [] {
    std::array<char, 256> bytes;
    for (int i = 0; i < 256; ++i) bytes[i] = static_cast<char>(i);
    return bytes;
  }();
  return id == 256 ? kEndOfTextName : std::string_view(&all_bytes[id], 1);
}

std::string ByteTokenizer::serialize() const {
  return fmt::format("{{\"heddle_tokenizer\": \"byte\", \"version\": 1, \"end_of_text\": {}}}\n",
                     with_end_of_text_);
}

std::unique_ptr<Tokenizer> parse_byte_tokenizer(const nlohmann::json& file, const std::string& name) {
  json_integer(file, "version", name, 1, 1);
  return std::make_unique<ByteTokenizer>(json_bool(file, "end_of_text", name));
}

}  // namespace heddle
