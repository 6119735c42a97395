#include "trainer/data/tokenizers/word_trainer.h"

#include <algorithm>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/parallel_for.h"

namespace heddle {

WordTrainer::WordTrainer(WordTrainerOptions options)
    : options_(options), splitter_(options.lowercase), counts_(resolve_threads(options.threads)) {}

void WordTrainer::add(std::span<const std::string> texts) {
  const auto threads = static_cast<int>(counts_.size());
  parallel_for(static_cast<std::int64_t>(texts.size()), threads, [&](std::int64_t i, int thread) {
    WordCounts& counts = counts_[thread];
    splitter_.for_each_word(texts[i], [&](std::string_view word) {
      const auto found = counts.find(word);
      if (found != counts.end()) {
        ++found->second;
      } else {
        counts.emplace(word, 1);
      }
    });
  });
}

WordModel WordTrainer::train() const {
  WordCounts total;
  for (const WordCounts& counts : counts_)
    for (const auto& [word, count] : counts) total[word] += count;

  std::vector<std::pair<std::int64_t, std::string_view>> frequent;
  for (const auto& [word, count] : total)
    if (count >= options_.minimum_count) frequent.emplace_back(-count, word);
  if (frequent.empty())
    throw error("no word of the text is seen {} times: lower --word-minimum-count, or give more text",
                options_.minimum_count);
  if (frequent.size() > static_cast<std::size_t>(kMaxVocabularySize - WordTokenizer::kFirstWord))
    throw error("{} words of the text are seen {} times, which is too many: raise --word-minimum-count",
                frequent.size(), options_.minimum_count);
  std::sort(frequent.begin(), frequent.end());

  WordModel model{.words = {}, .lowercase = options_.lowercase};
  for (const auto& [negative_count, word] : frequent) model.words.emplace_back(word);
  return model;
}

}  // namespace heddle
