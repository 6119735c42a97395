#include "trainer/data/lower_case.h"

#include <unicode/bytestream.h>
#include <unicode/casemap.h>

#include <algorithm>
#include <cstdint>

#include "kernels/error.h"

namespace heddle {

std::string lower_case(std::string_view text) {
  std::string lower;
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::all_of(text.begin(), text.end(), is_ascii)) {
    lower.reserve(text.size());
    for (const char c : text) lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return lower;
  }
  icu::StringByteSink<std::string> sink(&lower);
  UErrorCode status = U_ZERO_ERROR;
  if (text.size() > INT32_MAX) throw error("a text of {} bytes is too long for lower case", text.size());
  const icu::StringPiece source(text.data(), static_cast<std::int32_t>(text.size()));
  icu::CaseMap::utf8ToLower("", 0, source, sink, nullptr, status);
  if (U_FAILURE(status)) throw error("cannot fold text to lower case: {}", u_errorName(status));
  return lower;
}

}  // namespace heddle
