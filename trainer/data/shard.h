// heddle token shard, version 1: token ids in a file. Little-endian, 128 bytes of header, then the ids:
//
//   byte   0   8 bytes        magic "HEDTOK\r\n" (a transfer in text mode damages it)
//          8   u32            version, 1
//         12   u32            bytes per id: 2 (vocabularies up to 65,536) or 4
//         16   u64            number of ids
//         24   u64            vocabulary size: every id is below it
//         32   32 characters  hash of the tokenizer (Tokenizer::hash)
//         64   32 characters  XXH3-128 of the ids' bytes, hexadecimal
//         96   32 characters  XXH3-128 of bytes 0 to 95, hexadecimal
//        128   ids            unsigned; the file ends with the last one
//
// In Python: numpy.memmap(path, dtype="<u2", mode="r", offset=128).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/checkpoint/digest.h"
#include "trainer/files.h"

namespace heddle {

constexpr std::uint64_t kShardHeaderBytes = 128;

struct ShardHeader {
  std::int64_t tokens = 0;
  std::int64_t vocabulary_size = 0;
  int bytes_per_token = 2;
  std::string tokenizer_hash;
  std::string payload_hash;
};

// Writes <path>.tmp; commit() completes it, makes it durable and gives it its name. Without commit() nothing
// is left.
class ShardWriter {
 public:
  ShardWriter(std::string path, std::int64_t vocabulary_size, std::string tokenizer_hash);
  ~ShardWriter();
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  void append(std::span<const std::int32_t> ids);  // throws Error for an id outside the vocabulary
  std::int64_t tokens() const { return header_.tokens; }
  ShardHeader commit();

 private:
  void flush();

  std::string path_, temporary_;
  File file_;
  ShardHeader header_;
  Digest payload_;
  std::vector<unsigned char> buffer_;
  bool committed_ = false;
};

// Reads and checks the header: magic, version, its hash, and that the file has exactly the ids it should.
// Throws Error naming the file.
ShardHeader read_shard_header(const File& file);

// Reads all ids and compares their hash; throws Error if they were damaged.
void verify_shard_payload(const File& file, const ShardHeader& header);

}  // namespace heddle
