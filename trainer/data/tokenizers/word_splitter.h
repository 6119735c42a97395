// Text <-> words and punctuation, as word-level translation models have them.
//
// One expression for all languages, close to spaCy's rules for German and English on image captions.
// Apart:     punctuation and symbols, each character by itself (dots in a row together), English clitics
//            ("do|n't", "dog|'s"), French elided words ("l'|eau").
// Together:  numbers with their separators ("1,000.5"), letters with dots ("U.S."), words around an
//            apostrophe ("o'clock"), and words around a hyphen if what follows it begins with a capital or a
//            digit: the German "T-Shirt" is one word, the English "t-shirt" three.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "trainer/data/tokenizers/pre_tokenizer.h"

namespace heddle {

// A change here changes the ids of texts: the tokenizer's file then needs a new version. White space is as in
// is_white_space().
constexpr std::string_view kWordPattern =
    R"(\p{L}{1,12}(?=(?i:n['’]t)\b)|(?<=\p{L})(?i:n['’]t)\b)"  // do|n't
    R"(|(?<=[\p{L}\p{N}])['’](?i:s|re|ve|ll|d|m)\b)"           // dog|'s
    R"(|\b(?i:[cdjlmnst]|\p{L}{0,12}qu)['’](?=\p{L}))"         // l'|eau
    R"(|\b(?:\p{L}\.){2,})"                                    // U.S.
    R"(|\p{N}+(?:[.,:]\p{N}+)+)"                               // 1,000.5
    R"(|[\p{L}\p{M}\p{N}]+(?:(?:)"                             // word
    R"(-(?=\p{Lu}|(?<!\p{N}-)\p{N}))"                          // T-Shirt, A-4, but 5|-|6
    R"(|['’](?=\p{L})(?!(?i:s|re|ve|ll|d|m)\b))"               // o'clock
    R"()[\p{L}\p{M}\p{N}]+)*)"                                 // and its next part
    R"(|\.\.+)"                                                // ...
    R"(|[^\p{Z}\t-\r\x85\p{L}\p{M}\p{N}])";                    // any other, but white space

class WordSplitter {
 public:
  // `lowercase`: words are given in lower case; where a text is split does not depend on it.
  explicit WordSplitter(bool lowercase);

  // The words in order; white space is between them only. Throws Error if `text` is not UTF-8. Safe to call
  // from several threads at once.
  void for_each_word(std::string_view text, const std::function<void(std::string_view)>& take) const;

 private:
  bool lowercase_;
  PreTokenizer pre_tokenizer_;
};

// Words as a text: a blank between two, but none before a comma, behind an opening bracket, around a hyphen
// and so on. What comes next never changes what is there already. Of split text it gives the text back as far
// as its punctuation stands where it usually does.
std::string join_words(std::span<const std::string_view> words);

}  // namespace heddle
