// One logical stream of token ids over the files of a split, read by position.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/data/token_file.h"

namespace heddle {

class TokenDataset {
 public:
  // The files follow each other in this order. heddle's own must come from one tokenizer; those whose ids
  // have at most kVerifiedBytes altogether are checked against their hashes now, larger ones by verify().
  // Truncation is found in any case. Throws Error naming the file.
  explicit TokenDataset(std::vector<TokenFile> files);
  static TokenDataset open(const std::vector<std::string>& paths);

  std::int64_t size() const { return starts_.back(); }  // tokens
  // Of the tokenizer; 0 and "" if the files do not say.
  std::int64_t vocabulary_size() const { return vocabulary_size_; }
  const std::string& tokenizer_hash() const { return tokenizer_hash_; }

  // Ids from `size` on are refused by read(); throws Error if the tokenizer's vocabulary is larger already.
  // Call it with the vocabulary of the model.
  void require_vocabulary(std::int64_t size);

  // ids[0, count) = the tokens [position, position + count). Throws Error naming the file if it was truncated
  // meanwhile or holds an id outside the vocabulary. May be called from several threads; allocates nothing.
  void read(std::int64_t position, std::int64_t count, std::int32_t* ids) const;

  // Compares the ids of heddle's own files with their hashes: reads everything.
  void verify() const;

  static constexpr std::int64_t kVerifiedBytes = std::int64_t{64} << 20;

 private:
  void read_from(const TokenFile& file, std::int64_t first, std::int64_t count, std::int32_t* ids) const;
  [[noreturn]] void refuse(const TokenFile& file, std::int64_t index, std::int64_t id) const;

  std::vector<TokenFile> files_;
  std::vector<std::int64_t> starts_{0};  // of each file in the stream; the last entry is the size
  std::int64_t vocabulary_size_ = 0;
  std::int64_t id_limit_ = std::int64_t{1} << 31;
  std::string tokenizer_hash_;
};

}  // namespace heddle
