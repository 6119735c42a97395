#include "trainer/data/tokenizers/word_splitter.h"

#include <algorithm>
#include <array>

#include "kernels/error.h"
#include "trainer/data/lower_case.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

template <std::size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr std::array<std::string_view, 12> kClosing{",", ".", "!", "?", ";", ":",
                                                    ")", "]", "}", "…", "%", "”"};
constexpr std::array<std::string_view, 10> kOpening{"(", "[", "{", "$", "£", "¿", "¡", "„", "‘", "#"};
constexpr std::array<std::string_view, 2> kConnecting{"-", "/"};
constexpr std::array<std::string_view, 2> kApostrophes{"'", "’"};

bool starts_with_apostrophe(std::string_view word) {
  return word.starts_with(kApostrophes[0]) || word.starts_with(kApostrophes[1]);
}
bool ends_with_apostrophe(std::string_view word) {
  return word.ends_with(kApostrophes[0]) || word.ends_with(kApostrophes[1]);
}

// 's, 'll, n't; also an apostrophe alone, as in "the boys' toys".
bool is_clitic(std::string_view word) {
  const bool negation =
      word.size() > 2 && (word[0] == 'n' || word[0] == 'N') && starts_with_apostrophe(word.substr(1));
  return starts_with_apostrophe(word) || negation;
}
bool is_elided(std::string_view word) {
  return ends_with_apostrophe(word) && !is_one_of(word, kApostrophes);
}

// Whether a word takes a blank before and behind it, from left to right: a quotation mark opens or closes by
// those before it.
class Spacing {
 public:
  struct Blanks {
    bool before, behind;
  };

  Blanks around(std::string_view word) {
    if (word == "\"") {
      straight_open_ = !straight_open_;
      return {straight_open_, !straight_open_};
    }
    if (word == "“") {  // closes German quotes, opens English ones
      const bool closes = low_open_;
      low_open_ = false;
      return {!closes, closes};
    }
    if (word == "„") low_open_ = true;
    if (is_one_of(word, kConnecting)) return {false, false};
    const bool closing = is_one_of(word, kClosing) || is_clitic(word) || word.starts_with("..");
    const bool opening = is_one_of(word, kOpening) || is_elided(word);
    return {!closing, !opening};
  }

 private:
  bool straight_open_ = false, low_open_ = false;
};

}  // namespace

WordSplitter::WordSplitter(bool lowercase)
    : lowercase_(lowercase), pre_tokenizer_(std::string(kWordPattern), "the word tokenizer") {}

void WordSplitter::for_each_word(std::string_view text,
                                 const std::function<void(std::string_view)>& take) const {
  const std::size_t bad = find_invalid_utf8(text);
  if (bad < text.size()) throw error("byte {} of the text is not UTF-8; a word tokenizer needs UTF-8", bad);
  PreTokenizer::Words pieces(pre_tokenizer_, text);
  std::string_view piece;
  while (pieces.next(piece)) {
    std::size_t position = 0;
    if (is_white_space(next_code_point(piece, position))) continue;  // what the pattern does not match
    if (lowercase_) {
      take(lower_case(piece));
    } else {
      take(piece);
    }
  }
}

std::string join_words(std::span<const std::string_view> words) {
  std::string text;
  Spacing spacing;
  bool blank = false;
  for (const std::string_view word : words) {
    const auto [before, behind] = spacing.around(word);
    if (blank && before) text += ' ';
    text += word;
    blank = behind;
  }
  return text;
}

}  // namespace heddle
