#include "trainer/data/content_hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>
#include <new>

namespace heddle {
namespace {

ContentHash canonical(XXH128_hash_t value) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, value);
  ContentHash hash;
  static_assert(sizeof bytes.digest == sizeof hash.bytes);
  std::memcpy(hash.bytes.data(), bytes.digest, sizeof bytes.digest);
  return hash;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

struct FreeXxh3 {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

}  // namespace

std::string ContentHash::hex() const {
  std::string text;
  for (const std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

bool parse_content_hash(std::string_view hex, ContentHash& hash) {
  if (hex.size() != 2 * hash.bytes.size()) return false;
  for (std::size_t i = 0; i < hash.bytes.size(); ++i) {
    const int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    hash.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return true;
}

struct ContentHasher::State {
  std::unique_ptr<XXH3_state_t, FreeXxh3> xxh3{XXH3_createState()};
};

ContentHasher::ContentHasher() : state_(std::make_unique<State>()) {
  if (!state_->xxh3 || XXH3_128bits_reset(state_->xxh3.get()) == XXH_ERROR) throw std::bad_alloc();
}
ContentHasher::~ContentHasher() = default;

void ContentHasher::bytes(const void* data, std::size_t size) {
  XXH3_128bits_update(state_->xxh3.get(), data, size);
}

void ContentHasher::number(std::uint64_t value) {
  std::array<std::uint8_t, 8> little_endian;
  for (int i = 0; i < 8; ++i) little_endian[i] = static_cast<std::uint8_t>(value >> (8 * i));
  bytes(little_endian.data(), little_endian.size());
}

void ContentHasher::string(std::string_view value) {
  number(value.size());
  bytes(value.data(), value.size());
}

ContentHash ContentHasher::digest() const {
  return canonical(XXH3_128bits_digest(state_->xxh3.get()));
}

ContentHash content_hash(const void* data, std::size_t size) {
  return canonical(XXH3_128bits(data, size));
}

}  // namespace heddle
