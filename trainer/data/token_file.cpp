#include "trainer/data/token_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/error.h"

namespace heddle {
namespace {

constexpr std::string_view kMegatronMagic{"MMIDIDX\0\0", 9};
constexpr std::uint64_t kMegatronHeaderBytes = 34;
constexpr std::uint64_t kLlmcHeaderBytes = 256 * 4;

TokenFile open_shard(File file) {
  ShardHeader header = read_shard_header(file);
  const TokenType type = header.bytes_per_token == 2 ? TokenType::u16 : TokenType::u32;
  const std::int64_t tokens = header.tokens;
  return {std::move(file), kShardHeaderBytes, type, tokens, std::move(header)};
}

TokenFile open_llmc(File file) {
  const std::string name = file.path().string();
  std::array<std::int32_t, 3> header;  // magic, version, number of ids
  if (file.size() < kLlmcHeaderBytes)
    throw error("{} is truncated inside the header of an llm.c token file", name);
  file.read_at(0, header.data(), sizeof header);
  const auto [magic, version, tokens] = header;
  const bool is_gpt2 = magic == 20240520;
  if (version != (is_gpt2 ? 1 : 7)) {
    throw error("{}: llm.c token file {} of version {} is not supported", name, magic, version);
  }
  const TokenType type = is_gpt2 ? TokenType::u16 : TokenType::u32;
  const std::uint64_t payload = file.size() - kLlmcHeaderBytes;
  if (tokens < 0 ||
      static_cast<std::uint64_t>(tokens) * static_cast<std::uint64_t>(size_of(type)) != payload) {
    throw error("{} is truncated or damaged: {} tokens of {} bytes are promised, {} bytes are there", name,
                tokens, size_of(type), payload);
  }
  return {std::move(file), kLlmcHeaderBytes, type, tokens, std::nullopt};
}

TokenType megatron_type(std::uint8_t code, const std::string& name) {
  switch (code) {
    case 1:
      return TokenType::u8;
    case 2:
      return TokenType::i8;
    case 3:
      return TokenType::i16;
    case 4:
      return TokenType::i32;
    case 5:
      return TokenType::i64;
    case 8:
      return TokenType::u16;
    case 6:
    case 7:
      throw error("{}: its elements are floating-point numbers, not token ids", name);
    default:
      throw error("{} is damaged: unknown element type {}", name, code);
  }
}

// The index: header, i32 lengths[sequences], i64 byte offsets[sequences], i64 documents[documents], maybe i8
// modes[sequences].
class MegatronIndex {
 public:
  explicit MegatronIndex(const std::string& path) : file_(File::open(path)), name_(path) {
    std::array<char, kMegatronHeaderBytes> header;
    if (file_.size() < header.size()) throw error("{} is truncated inside its header", name_);
    file_.read_at(0, header.data(), header.size());
    if (std::string_view(header.data(), kMegatronMagic.size()) != kMegatronMagic) {
      throw error("{} is no Megatron index: its first bytes are others", name_);
    }
    std::uint64_t version, documents;
    std::memcpy(&version, header.data() + 9, 8);
    if (version != 1) throw error("{}: Megatron index of version {} is not supported", name_, version);
    type_ = megatron_type(static_cast<std::uint8_t>(header[17]), name_);
    std::memcpy(&sequences_, header.data() + 18, 8);
    std::memcpy(&documents, header.data() + 26, 8);
    check_size(documents);
  }

  TokenType type() const { return type_; }

  // The sum of the lengths, in tokens, after a check that the sequences follow each other in a file of
  // `data_bytes`.
  std::int64_t check_sequences(const std::string& data_name, std::uint64_t data_bytes) const {
    constexpr std::uint64_t kBlock = 1 << 16;
    std::vector<std::int32_t> lengths(static_cast<std::size_t>(std::min(kBlock, sequences_)));
    std::vector<std::int64_t> offsets(lengths.size());
    const std::uint64_t width = static_cast<std::uint64_t>(size_of(type_));
    std::uint64_t expected = 0;  // bytes; at most data_bytes, so it cannot overflow
    for (std::uint64_t begin = 0; begin < sequences_; begin += kBlock) {
      const std::size_t count = static_cast<std::size_t>(std::min(kBlock, sequences_ - begin));
      file_.read_at(kMegatronHeaderBytes + 4 * begin, lengths.data(), 4 * count);
      file_.read_at(kMegatronHeaderBytes + 4 * sequences_ + 8 * begin, offsets.data(), 8 * count);
      for (std::size_t i = 0; i < count; ++i) {
        if (lengths[i] < 0 || offsets[i] < 0 || static_cast<std::uint64_t>(offsets[i]) != expected) {
          throw error(
              "{}: sequence {} (offset {}, length {}) does not follow the one before it; not supported",
              name_, begin + i, offsets[i], lengths[i]);
        }
        expected += static_cast<std::uint64_t>(lengths[i]) * width;
        if (expected > data_bytes) {
          throw error("{} is truncated: sequence {} of {} ends at byte {}, the file at {}", data_name,
                      begin + i, name_, expected, data_bytes);
        }
      }
    }
    if (expected != data_bytes) {
      throw error("{} has {} bytes, but {} knows only of {}", data_name, data_bytes, name_, expected);
    }
    return static_cast<std::int64_t>(expected / width);
  }

 private:
  void check_size(std::uint64_t documents) const {
    const std::uint64_t left = file_.size() - kMegatronHeaderBytes;
    const bool plausible = sequences_ <= left / 12 && documents <= (left - 12 * sequences_) / 8;
    const std::uint64_t rest = plausible ? left - 12 * sequences_ - 8 * documents : 0;
    if (!plausible || (rest != 0 && rest != sequences_)) {
      throw error("{} is truncated or damaged: {} sequences and {} documents do not fit its {} bytes", name_,
                  sequences_, documents, file_.size());
    }
  }

  File file_;
  std::string name_;
  TokenType type_ = TokenType::u16;
  std::uint64_t sequences_ = 0;
};

TokenFile open_megatron(const std::string& index_path, const std::string& data_path) {
  const MegatronIndex index(index_path);
  File data = File::open(data_path);
  const std::int64_t tokens = index.check_sequences(data_path, data.size());
  return {std::move(data), 0, index.type(), tokens, std::nullopt};
}

}  // namespace

TokenFile open_token_file(const std::string& path) {
  std::filesystem::path index = path, data = path;
  index.replace_extension(".idx");
  data.replace_extension(".bin");
  std::error_code ignored;
  if (path.ends_with(".idx") || (path.ends_with(".bin") && std::filesystem::exists(index, ignored))) {
    return open_megatron(index.string(), data.string());
  }
  File file = File::open(path);
  std::int32_t first = 0;
  if (file.size() >= sizeof first) file.read_at(0, &first, sizeof first);
  if (first == 20240520 || first == 20240801) return open_llmc(std::move(file));
  return open_shard(std::move(file));
}

}  // namespace heddle
