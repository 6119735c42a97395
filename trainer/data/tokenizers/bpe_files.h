// Files of byte-level BPE: GPT-2's encoder.json with vocab.bpe, and Hugging Face's tokenizer.json.
// What cannot be followed to the letter is refused, never half supported.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "trainer/data/tokenizers/bpe_tokenizer.h"

namespace heddle {

// encoder.json: {"token": id, ...} in the byte-level alphabet; vocab.bpe: a "#version" line, then one "left
// right" a line. "<|endoftext|>" is the end-of-text token if it is there.
BpeModel read_gpt2_files(const std::string& vocabulary_path, const std::string& merges_path);

// A parsed tokenizer.json; `name` is the file for messages. Supported:
//   model          BPE without dropout, prefix, suffix and byte fallback; merges as "a b" or ["a", "b"]; ids
//   without holes normalizer     none pre_tokenizer  ByteLevel (use_regex: GPT-2's expression), or a Sequence
//   of Split (an expression, "Isolated") and
//                  ByteLevel without use_regex; no add_prefix_space
//   decoder        ByteLevel
//   added_tokens   special ones are not recognised in text (as with add_special_tokens off and
//   split_special_tokens on);
//                  others are, if they have none of single_word, lstrip, rstrip
//   truncation, padding, post_processor   not read: they do not concern ordinary tokens
// The end of a text is the first of <|endoftext|>, <|end_of_text|>, </s>, <eos> that is a special token.
BpeModel parse_tokenizer_json(const nlohmann::json& file, const std::string& name);

// The tokenizer.json of a tokenizer: what parse_tokenizer_json() reads, and Hugging Face's tokenizers too.
std::string write_tokenizer_json(const BpeTokenizer& tokenizer);

}  // namespace heddle
