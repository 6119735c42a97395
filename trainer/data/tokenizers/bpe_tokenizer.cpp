#include "trainer/data/tokenizers/bpe_tokenizer.h"

#include <algorithm>
#include <bit>
#include <cstddef>

#include "kernels/error.h"
#include "trainer/data/tokenizers/bpe_files.h"
#include "trainer/data/utf8.h"

namespace heddle {
namespace {

constexpr std::size_t kMaxCachedWordBytes = 64;
constexpr std::size_t kMaxCachedIds = std::size_t{1} << 21;  // 8 MiB of ids, about as much again in words

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

}  // namespace

struct BpeTokenizer::Scratch {
  struct Symbol {
    std::int32_t id;  // -1: merged into the one before it
    std::int32_t previous, next;
  };
  struct Candidate {
    std::int32_t rank, position;  // of the left symbol
    // Reversed, for a heap with the smallest rank, then the leftmost position, on top.
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  struct CachedWord {
    std::size_t begin, count;  // in cached_ids
  };

  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::unordered_map<std::string, CachedWord, StringHash, std::equal_to<>> cache;
  std::vector<std::int32_t> cached_ids;
};

// Takes a scratch from the tokenizer's pool for one call of encode and puts it back, cache and all.
class BpeTokenizer::ScratchLease {
 public:
  explicit ScratchLease(const BpeTokenizer& owner) : owner_(owner) {
    const std::lock_guard lock(owner_.mutex_);
    if (owner_.idle_scratch_.empty()) {
      scratch_ = std::make_unique<Scratch>();
    } else {
      scratch_ = std::move(owner_.idle_scratch_.back());
      owner_.idle_scratch_.pop_back();
    }
  }
  ~ScratchLease() {
    const std::lock_guard lock(owner_.mutex_);
    owner_.idle_scratch_.push_back(std::move(scratch_));
  }
  ScratchLease(const ScratchLease&) = delete;
  ScratchLease& operator=(const ScratchLease&) = delete;
  Scratch& operator*() { return *scratch_; }

 private:
  const BpeTokenizer& owner_;
  std::unique_ptr<Scratch> scratch_;
};

BpeTokenizer::BpeTokenizer(BpeModel model, const std::string& source)
    : model_(std::move(model)), pre_tokenizer_(model_.pattern, source) {
  if (model_.tokens.size() > static_cast<std::size_t>(kMaxVocabularySize)) {
    throw error("{}: {} tokens are more than the {} supported", source, model_.tokens.size(),
                kMaxVocabularySize);
  }
  set_roles(source);
  set_bytes(source);
  set_merges(source);
}

BpeTokenizer::~BpeTokenizer() = default;

void BpeTokenizer::set_roles(const std::string& source) {
  role_.assign(model_.tokens.size(), Role::ordinary);
  const auto mark = [&](std::int32_t id, Role role) {
    if (id < 0 || id >= vocabulary_size() || role_[id] != Role::ordinary) {
      throw error("{}: the special or added token {} is outside the vocabulary, or listed twice", source, id);
    }
    role_[id] = role;
  };
  for (const std::int32_t id : model_.special) mark(id, Role::special);
  for (const std::int32_t id : model_.added) {
    mark(id, Role::added);
    const std::string& content = model_.tokens[id];
    if (content.empty()) throw error("{}: the added token {} is empty", source, id);
    added_by_first_byte_[static_cast<unsigned char>(content[0])].push_back(id);
  }
  for (std::vector<std::int32_t>& ids : added_by_first_byte_) {
    std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
      return model_.tokens[a].size() > model_.tokens[b].size();
    });
  }
  if (model_.end_of_text && (*model_.end_of_text < 0 || *model_.end_of_text >= vocabulary_size() ||
                             role_[*model_.end_of_text] != Role::special)) {
    throw error("{}: the end-of-text token {} is not a special token", source, *model_.end_of_text);
  }
}

void BpeTokenizer::set_bytes(const std::string& source) {
  byte_ids_.fill(-1);
  for (std::int32_t id = 0; id < vocabulary_size(); ++id) {
    const std::string& token = model_.tokens[id];
    if (role_[id] != Role::ordinary) continue;
    if (token.empty()) throw error("{}: the token {} is empty", source, id);
    if (token.size() == 1) byte_ids_[static_cast<unsigned char>(token[0])] = id;
    if (model_.ignore_merges) whole_words_.emplace(token, id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (byte_ids_[byte] < 0) {
      throw error(
          "{}: the byte 0x{:02x} is not in the vocabulary; only byte-level tokenizers with all 256 bytes are "
          "supported",
          source, byte);
    }
  }
}

void BpeTokenizer::set_merges(const std::string& source) {
  merge_slots_.resize(std::bit_ceil(2 * model_.merges.size() + 2));
  for (std::size_t rank = 0; rank < model_.merges.size(); ++rank) {
    const BpeMerge& merge = model_.merges[rank];
    for (const std::int32_t id : {merge.left, merge.right, merge.result}) {
      if (id < 0 || id >= vocabulary_size() || role_[id] != Role::ordinary) {
        throw error("{}: merge {} names token {}, which is no ordinary token", source, rank, id);
      }
    }
    if (model_.tokens[merge.left] + model_.tokens[merge.right] != model_.tokens[merge.result]) {
      throw error("{}: merge {} does not result in its two parts joined", source, rank);
    }
    if (find_merge(merge.left, merge.right)) throw error("{}: merge {} is there twice", source, rank);
    std::size_t slot = first_slot(merge.left, merge.right);
    while (merge_slots_[slot].left >= 0) slot = (slot + 1) & (merge_slots_.size() - 1);
    merge_slots_[slot] = {merge.left, merge.right, static_cast<std::int32_t>(rank), merge.result};
  }
}

std::size_t BpeTokenizer::first_slot(std::int32_t left, std::int32_t right) const {
  std::uint64_t mixed = (static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right));
  mixed *= 0x9E3779B97F4A7C15u;
  return static_cast<std::size_t>(mixed ^ mixed >> 32) & (merge_slots_.size() - 1);
}

const BpeTokenizer::MergeSlot* BpeTokenizer::find_merge(std::int32_t left, std::int32_t right) const {
  for (std::size_t slot = first_slot(left, right);; slot = (slot + 1) & (merge_slots_.size() - 1)) {
    const MergeSlot& candidate = merge_slots_[slot];
    if (candidate.left < 0) return nullptr;
    if (candidate.left == left && candidate.right == right) return &candidate;
  }
}

void BpeTokenizer::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  ScratchLease lease(*this);
  if (model_.added.empty()) return encode_words(text, *lease, ids);
  std::size_t position = 0;
  while (position < text.size()) {
    std::int32_t id = -1;
    const std::size_t found = find_added(text, position, id);
    encode_words(text.substr(position, found - position), *lease, ids);
    if (id < 0) break;
    ids.push_back(id);
    position = found + model_.tokens[id].size();
  }
}

// The leftmost added token at or after `from`, the longest of several there; text.size() and id -1 if there
// is none.
std::size_t BpeTokenizer::find_added(std::string_view text, std::size_t from, std::int32_t& id) const {
  for (std::size_t position = from; position < text.size(); ++position) {
    for (const std::int32_t candidate : added_by_first_byte_[static_cast<unsigned char>(text[position])]) {
      if (text.substr(position).starts_with(model_.tokens[candidate])) {
        id = candidate;
        return position;
      }
    }
  }
  return text.size();
}

void BpeTokenizer::encode_words(std::string_view text, Scratch& scratch,
                                std::vector<std::int32_t>& ids) const {
  PreTokenizer::Words words(pre_tokenizer_, text);
  std::string_view word;
  while (words.next(word)) encode_word(word, scratch, ids);
}

void BpeTokenizer::encode_word(std::string_view word, Scratch& scratch,
                               std::vector<std::int32_t>& ids) const {
  if (model_.ignore_merges) {
    const auto whole = whole_words_.find(word);
    if (whole != whole_words_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  if (word.size() > kMaxCachedWordBytes) return merge_word(word, scratch, ids);
  const auto cached = scratch.cache.find(word);
  if (cached != scratch.cache.end()) {
    const auto begin = scratch.cached_ids.begin() + static_cast<std::ptrdiff_t>(cached->second.begin);
    ids.insert(ids.end(), begin, begin + static_cast<std::ptrdiff_t>(cached->second.count));
    return;
  }
  if (scratch.cached_ids.size() > kMaxCachedIds) {
    scratch.cache.clear();
    scratch.cached_ids.clear();
  }
  const std::size_t begin = ids.size();
  merge_word(word, scratch, ids);
  scratch.cache.emplace(word, Scratch::CachedWord{scratch.cached_ids.size(), ids.size() - begin});
  scratch.cached_ids.insert(scratch.cached_ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                            ids.end());
}

void BpeTokenizer::merge_word(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& ids) const {
  if (word.size() > INT32_MAX) throw error("a word of {} bytes is too long for the tokenizer", word.size());
  std::vector<Scratch::Symbol>& symbols = scratch.symbols;
  std::vector<Scratch::Candidate>& heap = scratch.heap;
  const std::int32_t length = static_cast<std::int32_t>(word.size());
  symbols.resize(word.size());
  heap.clear();
  for (std::int32_t i = 0; i < length; ++i) {
    symbols[i] = {byte_ids_[static_cast<unsigned char>(word[i])], i - 1, i + 1 < length ? i + 1 : -1};
  }
  const auto merge_at = [&](std::int32_t position) -> const MergeSlot* {
    const std::int32_t next = symbols[position].next;
    return next < 0 ? nullptr : find_merge(symbols[position].id, symbols[next].id);
  };
  const auto push = [&](std::int32_t position) {
    if (const MergeSlot* merge = merge_at(position)) {
      heap.push_back({merge->rank, position});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (std::int32_t i = 0; i + 1 < length; ++i) push(i);
  while (!heap.empty()) {
    const auto [rank, position] = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    if (symbols[position].id < 0) continue;
    const MergeSlot* merge = merge_at(position);
    if (!merge || merge->rank != rank)
      continue;  // one of the two was merged with another neighbour meanwhile
    Scratch::Symbol& left = symbols[position];
    Scratch::Symbol& right = symbols[left.next];
    left.id = merge->result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = position;
    if (left.previous >= 0) push(left.previous);
    push(position);
  }
  for (std::int32_t i = 0; i >= 0 && i < length; i = symbols[i].next) ids.push_back(symbols[i].id);
}

void BpeTokenizer::add_to_hash(Fingerprint& fingerprint) const {
  fingerprint.string(model_.pattern);
  fingerprint.number(model_.ignore_merges);
  fingerprint.number(model_.added.size());
  for (std::int32_t id = 0; id < vocabulary_size(); ++id) {
    if (is_added(id)) fingerprint.number(static_cast<std::uint64_t>(id));
  }
  fingerprint.number(model_.merges.size());
  for (const BpeMerge& merge : model_.merges) {
    fingerprint.number(static_cast<std::uint64_t>(merge.left) << 32 |
                       static_cast<std::uint32_t>(merge.right));
  }
}

std::string BpeTokenizer::serialize() const {
  return write_tokenizer_json(*this);
}

}  // namespace heddle
