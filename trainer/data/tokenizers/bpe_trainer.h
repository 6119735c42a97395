// Learns a byte-level BPE vocabulary from text.
//
// The ids: 0..255 are the bytes in the order of GPT-2's alphabet, then one id per merge in the order they are
// learnt, then <|endoftext|>. The rule of a merge: the pair of neighbours that is most frequent in the text,
// counting every position; of equally frequent pairs the one with the smaller left id, then the smaller right
// id (the rule of Hugging Face's trainer). So the result depends on the text alone: not on the number of
// threads, nor on the order of texts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trainer/data/tokenizers/bpe_tokenizer.h"

namespace heddle {

struct BpeTrainerOptions {
  std::int32_t vocabulary_size =
      32768;                       // bytes, merges and end of text; fewer if the text does not give that many
  std::int64_t minimum_count = 2;  // a pair that is rarer is not merged
  bool end_of_text = true;
  std::string pattern{kGpt2Pattern};
  int threads = 0;  // that count words; 0: all cores
};

class BpeTrainer {
 public:
  explicit BpeTrainer(
      BpeTrainerOptions options);  // throws UsageError if the vocabulary cannot hold the bytes
  ~BpeTrainer();

  // Counts the words of some texts (pieces of documents, as text_source.h gives them), in parallel.
  void add(std::span<const std::string> texts);
  void add(const std::string& text) { add(std::span(&text, 1)); }

  // Learns from all that was added. `progress` is called now and then with the number of tokens so far.
  BpeModel train(const std::function<void(std::int32_t)>& progress = {}) const;

 private:
  struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using WordCounts = std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>>;

  BpeTrainerOptions options_;
  PreTokenizer pre_tokenizer_;
  std::vector<WordCounts> counts_;  // one per thread
};

}  // namespace heddle
