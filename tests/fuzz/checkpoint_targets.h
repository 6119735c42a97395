// What the fuzzers and the mutation test feed to the parsers of checkpoints: any bytes are either accepted,
// and then what was accepted keeps the rules, or refused with an Error; anything else is a crash.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "kernels/error.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"

namespace heddle::fuzz {

inline void require(bool condition) {
  if (!condition) std::abort();
}

// The bytes of a safetensors file. Returns whether they were accepted.
inline bool safetensors_file(const std::uint8_t* data, std::size_t size) {
  try {
    std::uint64_t length = 0;
    if (size < 8) return false;
    std::memcpy(&length, data, 8);
    if (length > size - 8) return false;
    const std::string_view json(reinterpret_cast<const char*>(data) + 8, length);
    const SafetensorsHeader header = SafetensorsHeader::parse(json, size - 8 - length, "fuzz");
    std::uint64_t end = 0;
    for (const SafetensorsEntry& entry : header.tensors()) {
      require(entry.begin == end && entry.end >= entry.begin);
      end = entry.end;
      require(header.find(entry.name) == &entry);
    }
    require(end == size - 8 - length);
    // What was accepted can be written, and read again.
    const std::string bytes = header.to_bytes();
    const SafetensorsHeader again = SafetensorsHeader::parse(std::string_view(bytes).substr(8), end, "fuzz");
    require(again.to_bytes() == bytes);
    return true;
  } catch (const Error& reason) {
    require(std::strchr(reason.what(), '\n') == nullptr);
    return false;
  }
}

// The text of a manifest before its seal, which is made to fit. Returns whether it was accepted.
inline bool manifest(const std::uint8_t* data, std::size_t size) {
  const std::string body(reinterpret_cast<const char*>(data), size);
  try {
    parse_manifest(body, "fuzz");
  } catch (const Error&) {
  }
  try {
    const Manifest accepted = parse_manifest(seal_manifest(body), "fuzz");
    const std::string text = manifest_text(accepted, "fuzz");
    require(manifest_text(parse_manifest(text, "fuzz"), "fuzz") == text);
    return true;
  } catch (const Error& reason) {
    require(std::strchr(reason.what(), '\n') == nullptr);
    return false;
  }
}

}  // namespace heddle::fuzz
