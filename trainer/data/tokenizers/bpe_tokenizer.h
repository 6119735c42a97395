// Byte-level byte-pair encoding (Sennrich et al. 2016, as changed to bytes by GPT-2, Radford et al. 2019).
//
// A text is split into words (pre_tokenizer.h). A word starts as one token per byte; then, again and again,
// of all neighbours that have a merge the pair whose merge was learnt first is joined, the leftmost of
// several. With a heap of candidates over a linked list this is O(n log n) in the length of the word, and
// words seen before come from a cache.
#pragma once

#include <array>
#include <mutex>
#include <unordered_map>

#include "trainer/data/tokenizers/pre_tokenizer.h"
#include "trainer/data/tokenizers/tokenizer.h"

namespace heddle {

struct BpeMerge {
  std::int32_t left, right, result;
};

// What the files and the trainer produce.
struct BpeModel {
  std::vector<std::string> tokens;    // id -> bytes; a special or added token's content as it is written
  std::vector<BpeMerge> merges;       // in the order they were learnt
  std::vector<std::int32_t> special;  // ids that encode() never gives
  std::vector<std::int32_t> added;    // ids whose content is recognised in text before it is split into words
  std::optional<std::int32_t> end_of_text;
  std::string pattern{kGpt2Pattern};
  bool ignore_merges = false;           // a word that is a token is that token, whatever the merges say
  std::string post_processor = "null";  // of tokenizer.json, passed on unread: concerns special tokens only
};

class BpeTokenizer : public Tokenizer {
 public:
  // Throws Error, naming `source`, unless every byte is a token, every merge joins two tokens to their
  // concatenation, and no pair is merged twice.
  BpeTokenizer(BpeModel model, const std::string& source);
  ~BpeTokenizer() override;

  const BpeModel& model() const { return model_; }

  std::string kind() const override { return "bpe"; }
  std::int32_t vocabulary_size() const override { return static_cast<std::int32_t>(model_.tokens.size()); }
  std::optional<std::int32_t> end_of_text() const override { return model_.end_of_text; }
  using Tokenizer::encode;
  void encode(std::string_view text, std::vector<std::int32_t>& ids) const override;
  bool is_special(std::int32_t id) const override { return role_[id] == Role::special; }
  bool is_added(std::int32_t id) const { return role_[id] == Role::added; }
  bool requires_utf8() const override { return false; }
  bool works_on_pieces() const override { return model_.added.empty() && pre_tokenizer_.works_on_pieces(); }
  std::string serialize() const override;

 protected:
  std::string_view bytes_of(std::int32_t id) const override { return model_.tokens[id]; }
  void add_to_hash(Fingerprint& fingerprint) const override;

 private:
  enum class Role : std::uint8_t { ordinary, special, added };
  struct Scratch;  // what one thread needs while it encodes, with its cache of words
  class ScratchLease;

  // Open addressing: the merge of a pair, or none. Half empty, so that a miss is found at once.
  struct MergeSlot {
    std::int32_t left = -1, right = -1, rank = 0, result = 0;
  };

  void set_roles(const std::string& source);
  void set_bytes(const std::string& source);
  void set_merges(const std::string& source);
  const MergeSlot* find_merge(std::int32_t left, std::int32_t right) const;
  std::size_t first_slot(std::int32_t left, std::int32_t right) const;
  void encode_words(std::string_view text, Scratch& scratch, std::vector<std::int32_t>& ids) const;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& ids) const;
  void merge_word(std::string_view word, Scratch& scratch, std::vector<std::int32_t>& ids) const;
  std::size_t find_added(std::string_view text, std::size_t from, std::int32_t& id) const;

  BpeModel model_;
  PreTokenizer pre_tokenizer_;
  std::vector<Role> role_;
  std::array<std::int32_t, 256> byte_ids_{};
  std::vector<MergeSlot> merge_slots_;
  std::unordered_map<std::string_view, std::int32_t> whole_words_;  // only if ignore_merges
  std::array<std::vector<std::int32_t>, 256> added_by_first_byte_;  // longest first

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> idle_scratch_;
};

}  // namespace heddle
