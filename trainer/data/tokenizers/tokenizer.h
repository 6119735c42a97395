// Tokenizer: text <-> token ids. All kinds behind one interface.
//
//   byte        each byte is its own id (0..255), and 256 is the end of a text unless that is left out
//   character   each Unicode character of the learnt alphabet is an id, in code point order; no end-of-text
//   id
//               (nanoGPT's character-level data: 65 ids for Shakespeare)
//   word        words and punctuation (word_tokenizer.h); white space and rare words are lost
//   bpe         byte-level byte-pair encoding as of GPT-2: learnt here, or loaded from GPT-2's or Hugging
//   Face's files
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/fingerprint.h"

namespace heddle {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::string kind() const = 0;  // "byte", "character", "word", "bpe"
  virtual std::int32_t vocabulary_size() const = 0;
  // The id that is written after a document; never produced by encode().
  virtual std::optional<std::int32_t> end_of_text() const = 0;

  // Appends the ids of `text` to `ids`. Special tokens are never recognised in text: a document that happens
  // to hold
  // "<|endoftext|>" gets the ids of these characters. Safe to call from several threads at once.
  virtual void encode(std::string_view text, std::vector<std::int32_t>& ids) const = 0;
  std::vector<std::int32_t> encode(std::string_view text) const;

  // The bytes that `id` stands for (a special token's name, for such); throws Error if `id` is not in the
  // vocabulary.
  std::string_view token_bytes(std::int32_t id) const;
  virtual bool is_special(std::int32_t id) const = 0;
  // The text of the ids. What further ids add comes behind it.
  virtual std::string decode(std::span<const std::int32_t> ids) const;
  // decode(encode(text)) == text, and a text's tokens are its bytes, cut. Not so for words.
  virtual bool keeps_text() const { return true; }

  // encode() accepts UTF-8 only. Otherwise it accepts any bytes.
  virtual bool requires_utf8() const = 0;
  // The tokens of a text are those of its pieces (trainer/data/text_source.h).
  virtual bool works_on_pieces() const = 0;

  // Equal for tokenizers that encode and decode everything alike, wherever they were loaded from.
  std::string hash() const;
  // The content of a tokenizer.json that load_tokenizer() reads; for bpe in Hugging Face's format.
  virtual std::string serialize() const = 0;

 protected:
  virtual std::string_view bytes_of(std::int32_t id) const = 0;  // id is in range
  virtual void add_to_hash(Fingerprint& fingerprint) const = 0;  // what is not in the list of tokens
};

// Loads
//   a tokenizer.json (Hugging Face's byte-level BPE, or heddle's own byte, character and word tokenizers),
//   GPT-2's encoder.json or vocab.bpe, or vocab.json and merges.txt as they are named elsewhere (either of
//   the two), or a folder that holds these, tokenizer.json first.
// Throws Error naming the file for anything it does not support to the letter.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);

void save_tokenizer(const Tokenizer& tokenizer, const std::string& path);

// Text bytes that each id stands for, 0 for special ones: what turns a loss per token into bits per byte.
// Empty for a tokenizer that does not keep the text, whose tokens stand for no certain number of bytes.
std::vector<std::int32_t> token_byte_lengths(const Tokenizer& tokenizer);

constexpr std::string_view kEndOfTextName = "<|endoftext|>";
constexpr std::int32_t kMaxVocabularySize = 1 << 24;

}  // namespace heddle
