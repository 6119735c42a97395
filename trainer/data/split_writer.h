// The shards of one split in the making.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "trainer/data/dataset_manifest.h"

namespace heddle {

class SplitWriter {
 public:
  // Writes <folder>/<name>-00000.heddle and so on. `tokenizer` is used here only.
  SplitWriter(std::string folder, std::string name, const Tokenizer& tokenizer,
              std::int64_t tokens_per_shard);

  void write(std::span<const std::int32_t> ids);  // throws Error for an id outside the vocabulary
  void count_document() { ++split_.documents; }
  void count_bytes(std::size_t bytes) { split_.bytes += static_cast<std::int64_t>(bytes); }
  std::int64_t documents() const { return split_.documents; }

  // Completes the last shard.
  DatasetSplit finish();

 private:
  void close_shard();

  std::string folder_, name_, tokenizer_hash_, shard_name_;
  std::int64_t vocabulary_size_, tokens_per_shard_;
  std::optional<ShardWriter> writer_;
  DatasetSplit split_;
};

}  // namespace heddle
