// Splits text into words by a regular expression, before byte-pair encoding works within each word.
// The expression is run by PCRE2 (Unicode tables of its version: 14 in 10.42), just-in-time compiled where
// possible.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace heddle {

// GPT-2's expression (github.com/openai/gpt-2, src/encoder.py).
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// Llama 3's, as in its tokenizer.json.
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

class PreTokenizer {
 public:
  // `name` is the file for messages; throws Error if PCRE2 cannot compile the pattern.
  PreTokenizer(std::string pattern, const std::string& name);
  ~PreTokenizer();

  const std::string& pattern() const { return pattern_; }
  // Boundaries where text_source.h cuts a document do not change the words.
  bool works_on_pieces() const { return pattern_ == kGpt2Pattern || pattern_ == kLlama3Pattern; }

  // The words of one text, in order. Together they are the whole text: what the pattern does not match is a
  // word too, and so is each longest run of bytes that are not UTF-8, which the pattern never sees.
  class Words {
   public:
    Words(const PreTokenizer& pre_tokenizer, std::string_view text);
    ~Words();
    Words(const Words&) = delete;
    Words& operator=(const Words&) = delete;

    bool next(std::string_view& word);

   private:
    bool match();

    const PreTokenizer& pre_tokenizer_;
    struct MatchData;
    std::unique_ptr<MatchData> match_data_;
    std::string_view text_;
    std::size_t position_ = 0;                         // all before it has been given out
    std::size_t segment_begin_ = 0, segment_end_ = 0;  // well-formed UTF-8 around position_
    std::size_t match_begin_ = 0, match_end_ = 0;      // found, not yet given out, if match_end_ > position_
  };

 private:
  struct Code;
  std::string pattern_;
  std::unique_ptr<Code> code_;
};

}  // namespace heddle
