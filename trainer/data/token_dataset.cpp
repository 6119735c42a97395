#include "trainer/data/token_dataset.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "kernels/error.h"

namespace heddle {

TokenDataset::TokenDataset(std::vector<TokenFile> files) : files_(std::move(files)) {
  std::int64_t bytes = 0;
  const TokenFile* first_shard = nullptr;
  for (const TokenFile& file : files_) {
    starts_.push_back(starts_.back() + file.tokens);
    bytes += file.tokens * size_of(file.type);
    if (!file.shard) continue;
    if (!first_shard) first_shard = &file;
    if (file.shard->tokenizer_hash != first_shard->shard->tokenizer_hash ||
        file.shard->vocabulary_size != first_shard->shard->vocabulary_size) {
      throw error("{} and {} come from different tokenizers; prepare the data again",
                  first_shard->file.path().string(), file.file.path().string());
    }
  }
  if (first_shard) {
    tokenizer_hash_ = first_shard->shard->tokenizer_hash;
    vocabulary_size_ = id_limit_ = first_shard->shard->vocabulary_size;
  }
  if (bytes <= kVerifiedBytes) verify();
}

TokenDataset TokenDataset::open(const std::vector<std::string>& paths) {
  std::vector<TokenFile> files;
  for (const std::string& path : paths) files.push_back(open_token_file(path));
  return TokenDataset(std::move(files));
}

void TokenDataset::require_vocabulary(std::int64_t size) {
  if (vocabulary_size_ > size) {
    throw error(
        "the data has a vocabulary of {} tokens, the model of {}; set the model's vocabulary_size to {} or "
        "more",
        vocabulary_size_, size, vocabulary_size_);
  }
  if (vocabulary_size_ == 0) id_limit_ = size;
}

void TokenDataset::verify() const {
  for (const TokenFile& file : files_) {
    if (file.shard) verify_shard_payload(file.file, *file.shard);
  }
}

void TokenDataset::read(std::int64_t position, std::int64_t count, std::int32_t* ids) const {
  if (position < 0 || count < 0 || position > size() || count > size() - position) {
    throw error("{} tokens at position {} are outside the data, which has {}", count, position, size());
  }
  // The last file that starts at or before the position; empty files before it share that start.
  std::size_t index =
      static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), position) - starts_.begin()) -
      1;
  while (count > 0) {
    const std::int64_t first = position - starts_[index];
    const std::int64_t here = std::min(count, files_[index].tokens - first);
    read_from(files_[index], first, here, ids);
    position += here;
    count -= here;
    ids += here;
    ++index;
  }
}

void TokenDataset::read_from(const TokenFile& file, std::int64_t first, std::int64_t count,
                             std::int32_t* ids) const {
  const auto convert = [&]<typename Stored>(Stored) {
    std::array<Stored, 4096> block;
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t here = std::min<std::int64_t>(count - done, block.size());
      const std::uint64_t offset = file.offset + static_cast<std::uint64_t>(first + done) * sizeof(Stored);
      file.file.read_at(offset, block.data(), static_cast<std::size_t>(here) * sizeof(Stored));
      for (std::int64_t i = 0; i < here; ++i) {
        const std::int64_t id = block[i];
        if (id < 0 || id >= id_limit_) refuse(file, first + done + i, id);
        ids[done + i] = static_cast<std::int32_t>(id);
      }
      done += here;
    }
  };
  switch (file.type) {
    case TokenType::u8:
      return convert(std::uint8_t{});
    case TokenType::i8:
      return convert(std::int8_t{});
    case TokenType::u16:
      return convert(std::uint16_t{});
    case TokenType::i16:
      return convert(std::int16_t{});
    case TokenType::u32:
      return convert(std::uint32_t{});
    case TokenType::i32:
      return convert(std::int32_t{});
    case TokenType::i64:
      return convert(std::int64_t{});
  }
}

void TokenDataset::refuse(const TokenFile& file, std::int64_t index, std::int64_t id) const {
  throw error("{}: token {} has the id {}, outside the vocabulary of {}; was it made with another tokenizer?",
              file.file.path().string(), index, id, id_limit_);
}

}  // namespace heddle
