#include "trainer/data/shard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "kernels/error.h"

namespace heddle {
namespace {

static_assert(std::endian::native == std::endian::little,
              "token files are read and written as they are in memory");

constexpr std::string_view kMagic{"HEDTOK\r\n", 8};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHashBytes = 32;
constexpr std::size_t kHeaderHashOffset = 96;
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

using HeaderBytes = std::array<char, kShardHeaderBytes>;

template <typename T>
T load(const HeaderBytes& bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <typename T>
void store(HeaderBytes& bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

HeaderBytes to_bytes(const ShardHeader& header) {
  HeaderBytes bytes{};
  std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
  store(bytes, 8, kVersion);
  store(bytes, 12, static_cast<std::uint32_t>(header.bytes_per_token));
  store(bytes, 16, static_cast<std::uint64_t>(header.tokens));
  store(bytes, 24, static_cast<std::uint64_t>(header.vocabulary_size));
  header.tokenizer_hash.copy(bytes.data() + 32, kHashBytes);
  header.payload_hash.copy(bytes.data() + 64, kHashBytes);
  digest_of({bytes.data(), kHeaderHashOffset}).copy(bytes.data() + kHeaderHashOffset, kHashBytes);
  return bytes;
}

}  // namespace

ShardWriter::ShardWriter(std::string path, std::int64_t vocabulary_size, std::string tokenizer_hash)
    : path_(std::move(path)),
      temporary_(path_ + ".tmp"),
      file_((remove_tree(temporary_), File::create(temporary_))) {
  header_.vocabulary_size = vocabulary_size;
  header_.tokenizer_hash = std::move(tokenizer_hash);
  header_.bytes_per_token = vocabulary_size <= 65536 ? 2 : 4;
  buffer_.reserve(kBufferBytes);
  const HeaderBytes zeros{};  // the real header is known only at the end
  file_.write(zeros.data(), zeros.size());
}

ShardWriter::~ShardWriter() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove(temporary_, ignored);
}

void ShardWriter::append(std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= header_.vocabulary_size) {
      throw error("{}: the token id {} is outside the vocabulary of {}", path_, id, header_.vocabulary_size);
    }
    if (buffer_.size() + sizeof id > kBufferBytes) flush();
    // Little-endian: the low bytes come first.
    const auto* bytes = reinterpret_cast<const unsigned char*>(&id);
    buffer_.insert(buffer_.end(), bytes, bytes + header_.bytes_per_token);
  }
  header_.tokens += static_cast<std::int64_t>(ids.size());
}

void ShardWriter::flush() {
  payload_.update(buffer_.data(), buffer_.size());
  file_.write(buffer_.data(), buffer_.size());
  buffer_.clear();
}

ShardHeader ShardWriter::commit() {
  flush();
  header_.payload_hash = payload_.hex();
  const HeaderBytes bytes = to_bytes(header_);
  file_.write_at(0, bytes.data(), bytes.size());
  file_.sync();
  file_.close();
  rename_path(temporary_, path_);
  committed_ = true;
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  sync_directory(folder.empty() ? "." : folder);
  return header_;
}

ShardHeader read_shard_header(const File& file) {
  const std::string name = file.path().string();
  HeaderBytes bytes;
  if (file.size() < bytes.size())
    throw error("{} is no token shard: it has only {} bytes", name, file.size());
  file.read_at(0, bytes.data(), bytes.size());
  if (std::string_view(bytes.data(), kMagic.size()) != kMagic) {
    throw error("{} is no heddle token shard: its first bytes are others", name);
  }
  const auto text = [&](std::size_t offset) { return std::string(bytes.data() + offset, kHashBytes); };
  const auto version = load<std::uint32_t>(bytes, 8);
  if (version != kVersion) {
    throw error("{} is a token shard of version {}; this program reads version {}", name, version, kVersion);
  }
  if (digest_of({bytes.data(), kHeaderHashOffset}) != text(kHeaderHashOffset)) {
    throw error("{} is damaged: its header does not match its hash; prepare the data again", name);
  }
  // The hash finds accidents only: whoever writes a header can write its hash, so the numbers are checked as
  // well.
  const auto width = load<std::uint32_t>(bytes, 12);
  if (width != 2 && width != 4) throw error("{} is damaged: {} bytes per token", name, width);
  const auto tokens = load<std::uint64_t>(bytes, 16), vocabulary = load<std::uint64_t>(bytes, 24);
  const std::uint64_t payload_bytes = file.size() - kShardHeaderBytes;
  if (payload_bytes % width != 0 || tokens != payload_bytes / width) {
    throw error("{} is truncated or damaged: {} tokens of {} bytes are promised, {} bytes are there", name,
                tokens, width, payload_bytes);
  }
  if (vocabulary > (std::uint64_t{1} << 31))
    throw error("{} is damaged: a vocabulary of {}", name, vocabulary);
  return {static_cast<std::int64_t>(tokens), static_cast<std::int64_t>(vocabulary), static_cast<int>(width),
          text(32), text(64)};
}

void verify_shard_payload(const File& file, const ShardHeader& header) {
  Digest digest;
  std::vector<char> buffer(kBufferBytes);
  const std::uint64_t end = kShardHeaderBytes + static_cast<std::uint64_t>(header.tokens) *
                                                    static_cast<std::uint64_t>(header.bytes_per_token);
  for (std::uint64_t offset = kShardHeaderBytes; offset < end;) {
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - offset));
    file.read_at(offset, buffer.data(), count);
    digest.update(buffer.data(), count);
    offset += count;
  }
  if (digest.hex() != header.payload_hash) {
    throw error("{} is damaged: its tokens do not match their hash; prepare the data again",
                file.path().string());
  }
}

}  // namespace heddle
