#include "trainer/data/split_writer.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "kernels/error.h"

namespace heddle {

SplitWriter::SplitWriter(std::string folder, std::string name, const Tokenizer& tokenizer,
                         std::int64_t tokens_per_shard)
    : folder_(std::move(folder)),
      name_(std::move(name)),
      tokenizer_hash_(tokenizer.hash()),
      vocabulary_size_(tokenizer.vocabulary_size()),
      tokens_per_shard_(tokens_per_shard) {}

void SplitWriter::write(std::span<const std::int32_t> ids) {
  while (!ids.empty()) {
    if (!writer_) {
      shard_name_ = fmt::format("{}-{:05}.heddle", name_, split_.shards.size());
      writer_.emplace((std::filesystem::path(folder_) / shard_name_).string(), vocabulary_size_,
                      tokenizer_hash_);
    }
    const std::int64_t room = tokens_per_shard_ - writer_->tokens();
    const std::size_t count =
        static_cast<std::size_t>(std::min<std::int64_t>(room, static_cast<std::int64_t>(ids.size())));
    writer_->append(ids.first(count));
    ids = ids.subspan(count);
    if (writer_->tokens() == tokens_per_shard_) close_shard();
  }
}

DatasetSplit SplitWriter::finish() {
  close_shard();
  return std::move(split_);
}

void SplitWriter::close_shard() {
  if (!writer_) return;
  const ShardHeader header = writer_->commit();
  writer_.reset();
  split_.tokens += header.tokens;
  split_.shards.push_back({shard_name_, header.tokens, header.payload_hash});
}

}  // namespace heddle
