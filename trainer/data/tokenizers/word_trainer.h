// Learns the vocabulary of a word tokenizer: the words of the text that are seen often enough, the most
// frequent first, equally frequent ones in the order of their bytes. So the result depends on the text alone:
// not on the number of threads, nor on the order of texts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "trainer/data/tokenizers/word_tokenizer.h"

namespace heddle {

struct WordTrainerOptions {
  std::int64_t minimum_count = 2;  // a word that is rarer is unknown
  bool lowercase = false;
  int threads = 0;  // that count words; 0: all cores
};

class WordTrainer {
 public:
  explicit WordTrainer(WordTrainerOptions options);

  // Counts the words of some texts (pieces of documents, as text_source.h gives them), in parallel. Throws
  // Error if one is not UTF-8.
  void add(std::span<const std::string> texts);
  void add(const std::string& text) { add(std::span(&text, 1)); }

  // Throws Error if no word was seen often enough, or too many were.
  WordModel train() const;

 private:
  struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using WordCounts = std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>>;

  WordTrainerOptions options_;
  WordSplitter splitter_;
  std::vector<WordCounts> counts_;  // one per thread
};

}  // namespace heddle
