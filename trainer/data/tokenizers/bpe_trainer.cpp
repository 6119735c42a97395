#include "trainer/data/tokenizers/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <queue>
#include <unordered_set>
#include <utility>

#include "kernels/error.h"
#include "trainer/data/parallel_for.h"
#include "trainer/data/tokenizers/byte_level.h"

namespace heddle {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;

struct Pair {
  std::int32_t left, right;

  bool operator==(const Pair&) const = default;
};

struct PairHash {
  std::size_t operator()(const Pair& pair) const {
    const std::uint64_t key =
        static_cast<std::uint64_t>(pair.left) << 32 | static_cast<std::uint32_t>(pair.right);
    const std::uint64_t mixed = key * 0x9E3779B97F4A7C15u;
    return static_cast<std::size_t>(mixed ^ mixed >> 29);
  }
};

// All distinct words as one doubly linked list of symbols with gaps between the words, and for every pair of
// neighbours how often it occurs and where. A merge touches only the places where its pair occurs.
class PairTable {
 public:
  struct Candidate {
    std::int64_t count;
    Pair pair;
    // For a heap with the most frequent pair, then the smallest ids, on top.
    bool operator<(const Candidate& other) const {
      if (count != other.count) return count < other.count;
      return std::pair(pair.left, pair.right) > std::pair(other.pair.left, other.pair.right);
    }
  };

  // `words` with their counts; `byte_ids` are the symbols of the single bytes.
  PairTable(const std::vector<std::pair<std::string_view, std::int64_t>>& words,
            const std::array<std::int32_t, 256>& byte_ids) {
    std::size_t total = 0;
    for (const auto& [word, count] : words) total += word.size();
    if (total >= kNone)
      throw error("the distinct words of the text have {} bytes, too many to learn BPE from", total);
    symbols_.reserve(total);
    word_of_.reserve(total);
    for (const auto& [word, count] : words) {
      const std::uint32_t begin = static_cast<std::uint32_t>(symbols_.size());
      const std::uint32_t end = begin + static_cast<std::uint32_t>(word.size());
      for (std::uint32_t i = begin; i < end; ++i) {
        symbols_.push_back({byte_ids[static_cast<unsigned char>(word[i - begin])], i == begin ? kNone : i - 1,
                            i + 1 == end ? kNone : i + 1});
        word_of_.push_back(static_cast<std::uint32_t>(counts_.size()));
      }
      counts_.push_back(count);
      for (std::uint32_t i = begin; i + 1 < end; ++i) change(i, +1);
    }
    for (const Pair& pair : grown_) queue_.push({pairs_[pair].count, pair});
    grown_.clear();
  }

  // The most frequent pair, or a count of 0 if there are no pairs left. It stays in the table until it is
  // merged.
  Candidate best() {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      const auto found = pairs_.find(top.pair);
      const std::int64_t count = found == pairs_.end() ? 0 : found->second.count;
      if (count == top.count) return top;
      // Its count fell since it was queued. (If it grew, it was queued again at that time.)
      if (count > 0 && count < top.count) queue_.push({count, top.pair});
    }
    return {0, {0, 0}};
  }

  void merge(const Pair& pair, std::int32_t result) {
    std::vector<std::uint32_t> places = std::move(pairs_[pair].places);
    // From left to right, so that "aaa" becomes "aa a" whatever happened before.
    std::sort(places.begin(), places.end());
    for (const std::uint32_t left : places) {
      // A place stays listed when its symbols are merged with others: look before merging.
      const std::uint32_t right = symbols_[left].next;
      if (symbols_[left].id != pair.left || right == kNone || symbols_[right].id != pair.right) continue;
      const std::uint32_t before = symbols_[left].previous, after = symbols_[right].next;
      if (before != kNone) change(before, -1);
      change(left, -1);
      if (after != kNone) change(right, -1);
      symbols_[left].id = result;
      symbols_[left].next = after;
      symbols_[right] = {-1, kNone, kNone};
      if (after != kNone) symbols_[after].previous = left;
      if (before != kNone) change(before, +1);
      if (after != kNone) change(left, +1);
    }
    for (const Pair& grown : grown_) {
      const auto found = pairs_.find(grown);
      if (found != pairs_.end() && found->second.count > 0) queue_.push({found->second.count, grown});
    }
    grown_.clear();
    // Every place was merged, or is outdated; `result` is longer than both halves, so the pair cannot have
    // come back.
    pairs_.erase(pair);
  }

 private:
  struct Symbol {
    std::int32_t id;  // -1: merged into the one before it
    std::uint32_t previous, next;
  };
  struct Occurrences {
    std::int64_t count = 0;
    std::vector<std::uint32_t> places;  // of left symbols; some may be outdated or listed twice
  };

  // Adds or removes the pair that starts at `left`, as often as its word occurs.
  void change(std::uint32_t left, int sign) {
    const Pair pair{symbols_[left].id, symbols_[symbols_[left].next].id};
    Occurrences& occurrences = pairs_[pair];
    occurrences.count += sign * counts_[word_of_[left]];
    if (sign > 0) {
      occurrences.places.push_back(left);
      grown_.insert(pair);
    }
  }

  std::vector<Symbol> symbols_;
  std::vector<std::uint32_t> word_of_;  // symbol -> word
  std::vector<std::int64_t> counts_;    // word -> how often it occurs
  std::unordered_map<Pair, Occurrences, PairHash> pairs_;
  std::unordered_set<Pair, PairHash> grown_;  // since they were queued last
  std::priority_queue<Candidate> queue_;
};

}  // namespace

BpeTrainer::BpeTrainer(BpeTrainerOptions options)
    : options_(std::move(options)),
      pre_tokenizer_(options_.pattern, "the BPE trainer"),
      counts_(static_cast<std::size_t>(resolve_threads(options_.threads))) {
  const std::int32_t smallest = 256 + options_.end_of_text;
  if (options_.vocabulary_size < smallest || options_.vocabulary_size > kMaxVocabularySize) {
    throw usage_error("a byte-level BPE vocabulary of {} is not possible; it needs {} to {} ids",
                      options_.vocabulary_size, smallest, kMaxVocabularySize);
  }
}

BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::add(std::span<const std::string> texts) {
  parallel_for(static_cast<std::int64_t>(texts.size()), static_cast<int>(counts_.size()),
               [&](std::int64_t index, int thread) {
                 WordCounts& counts = counts_[thread];
                 PreTokenizer::Words words(pre_tokenizer_, texts[index]);
                 std::string_view word;
                 while (words.next(word)) {
                   const auto found = counts.find(word);
                   if (found != counts.end()) {
                     ++found->second;
                   } else {
                     counts.emplace(word, 1);
                   }
                 }
               });
}

BpeModel BpeTrainer::train(const std::function<void(std::int32_t)>& progress) const {
  std::unordered_map<std::string_view, std::int64_t> total;
  for (const WordCounts& counts : counts_) {
    for (const auto& [word, count] : counts) total[word] += count;
  }
  PairTable table({total.begin(), total.end()}, [] {
    std::array<std::int32_t, 256> byte_ids;
    for (int id = 0; id < 256; ++id) byte_ids[byte_level_order()[id]] = id;
    return byte_ids;
  }());

  BpeModel model;
  model.pattern = options_.pattern;
  std::unordered_map<std::string, std::int32_t> known;  // tokens of merges
  std::unordered_set<Pair, PairHash> merged;
  for (const std::uint8_t byte : byte_level_order()) model.tokens.emplace_back(1, static_cast<char>(byte));
  const std::size_t wanted = static_cast<std::size_t>(options_.vocabulary_size - options_.end_of_text);
  const std::int64_t minimum_count = std::max<std::int64_t>(1, options_.minimum_count);
  while (model.tokens.size() < wanted) {
    const PairTable::Candidate best = table.best();
    if (best.count < minimum_count) break;
    const auto [left, right] = best.pair;
    // "ab" + "c" and "a" + "bc" are the same token. So the second can bring a pair back that has its merge
    // already.
    const auto [token, is_new] = known.emplace(model.tokens[left] + model.tokens[right],
                                               static_cast<std::int32_t>(model.tokens.size()));
    if (is_new) model.tokens.push_back(token->first);
    if (merged.insert(best.pair).second) model.merges.push_back({left, right, token->second});
    table.merge(best.pair, token->second);
    if (progress && model.tokens.size() % 256 == 0) progress(static_cast<std::int32_t>(model.tokens.size()));
  }
  if (options_.end_of_text) {
    model.end_of_text = static_cast<std::int32_t>(model.tokens.size());
    model.special.push_back(*model.end_of_text);
    model.tokens.emplace_back(kEndOfTextName);
  }
  return model;
}

}  // namespace heddle
