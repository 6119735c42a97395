// Bytes as tokens: nothing to learn, nothing unknown.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "trainer/data/tokenizers/tokenizer.h"

namespace heddle {

// 257 ids: the bytes, and 256 for the end of a text; without end_of_text exactly 256, and documents follow
// each other with nothing between.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(bool with_end_of_text = true) : with_end_of_text_(with_end_of_text) {}

  std::string kind() const override { return "byte"; }
  std::int32_t vocabulary_size() const override { return with_end_of_text_ ? 257 : 256; }
  std::optional<std::int32_t> end_of_text() const override;
  using Tokenizer::encode;
  void encode(std::string_view text, std::vector<std::int32_t>& ids) const override;
  bool is_special(std::int32_t id) const override { return id == 256; }
  bool requires_utf8() const override { return false; }
  bool works_on_pieces() const override { return true; }
  std::string serialize() const override;

 protected:
  std::string_view bytes_of(std::int32_t id) const override;
  void add_to_hash(Fingerprint&) const override {}

 private:
  bool with_end_of_text_;
};

std::unique_ptr<Tokenizer> parse_byte_tokenizer(const nlohmann::json& file, const std::string& name);

}  // namespace heddle
