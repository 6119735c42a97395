// A file of token ids, whoever wrote it, as one flat array: heddle's shards, Megatron-LM's .bin with .idx,
// llm.c's .bin.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "trainer/data/shard.h"
#include "trainer/files.h"

namespace heddle {

enum class TokenType : std::uint8_t { u8, i8, u16, i16, u32, i32, i64 };

constexpr int size_of(TokenType type) {
  switch (type) {
    case TokenType::u8:
    case TokenType::i8:
      return 1;
    case TokenType::u16:
    case TokenType::i16:
      return 2;
    case TokenType::u32:
    case TokenType::i32:
      return 4;
    case TokenType::i64:
      return 8;
  }
  return 0;
}

struct TokenFile {
  File file;
  std::uint64_t offset = 0;  // bytes before the first id
  TokenType type = TokenType::u16;
  std::int64_t tokens = 0;
  std::optional<ShardHeader> shard;  // of heddle's own
};

// Recognises the format by the file's neighbours and first bytes:
//   X.idx, or X.bin beside an X.idx   Megatron-LM (core/datasets/indexed_dataset.py): the sequences of X.bin
//   one after
//                                     the other; the index must list them in that order without gaps
//   "HEDTOK\r\n"                      a heddle shard (shard.h)
//   int32 20240520, version 1         llm.c, GPT-2: 256 int32 of header, then uint16 ids
//   int32 20240801, version 7         llm.c, Llama 3: the same with uint32 ids
// Every count is checked against the sizes of the files; throws Error naming the file. The ids themselves are
// checked when they are read (token_dataset.h).
TokenFile open_token_file(const std::string& path);

}  // namespace heddle
