// XXH3-128 of structured content: numbers and length-prefixed strings, so that no two contents give the same
// bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "trainer/checkpoint/digest.h"

namespace heddle {

class Fingerprint {
 public:
  void number(std::uint64_t value) {
    std::array<std::uint8_t, 8> little_endian;
    for (int i = 0; i < 8; ++i) little_endian[i] = static_cast<std::uint8_t>(value >> (8 * i));
    digest_.update(little_endian.data(), little_endian.size());
  }
  void string(std::string_view value) {
    number(value.size());
    digest_.update(value.data(), value.size());
  }
  std::string hex() const { return digest_.hex(); }  // 32 digits

 private:
  Digest digest_;
};

}  // namespace heddle
