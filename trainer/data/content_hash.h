// XXH3-128 of stored content: tells whether two files, tokenizers or inputs are the same. Not a defence
// against forgery.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace heddle {

// 128 bits in the canonical (big-endian) byte order of xxHash, so that the bytes and the hexadecimal text are
// the same on every machine.
struct ContentHash {
  std::array<std::uint8_t, 16> bytes{};

  bool operator==(const ContentHash&) const = default;
  std::string hex() const;  // 32 lower-case digits, as `xxh128sum` prints
};

// 32 lower-case hexadecimal digits to a hash; false if the text is anything else.
bool parse_content_hash(std::string_view hex, ContentHash& hash);

// Hashes a stream. Numbers and length-prefixed strings make a canonical serialization without building one in
// memory.
class ContentHasher {
 public:
  ContentHasher();
  ~ContentHasher();
  ContentHasher(const ContentHasher&) = delete;
  ContentHasher& operator=(const ContentHasher&) = delete;

  void bytes(const void* data, std::size_t size);
  void number(std::uint64_t value);     // 8 bytes, little-endian
  void string(std::string_view value);  // number(length), then the bytes
  ContentHash digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

ContentHash content_hash(const void* data, std::size_t size);

}  // namespace heddle
