// JSON from files that are not trusted.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace heddle {

// The value in `text`, which must be exactly one JSON object. Beyond what nlohmann::json refuses by itself,
// it refuses: duplicate keys (of which the library silently keeps the last), a byte order mark, a NUL byte
// (which the library takes for the end of the text, hiding what follows), and nesting deeper than
// `max_depth`. Throws Error("<what>: ...").
nlohmann::json parse_strict_json(std::string_view text, const std::string& what, int max_depth = 64);

// The two textual rules by themselves, for readers with a SAX handler of their own.
void check_json_object_text(std::string_view text, const std::string& what);

}  // namespace heddle
