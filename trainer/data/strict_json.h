// JSON from files that are not trusted: what nlohmann::json accepts silently (duplicate keys, huge nesting,
// fractions where an integer belongs) is an error here, and every error names the file.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace heddle {

// `name` is the file for messages. Rejects invalid UTF-8, duplicate keys, nesting beyond 64 and trailing
// text.
nlohmann::json parse_strict_json(std::string_view text, const std::string& name);

// read_small_file and parse_strict_json.
nlohmann::json read_strict_json(const std::string& path, std::uint64_t max_bytes);

// The member `key` of an object, with the wanted type; throws Error naming file and key if it is missing or
// another type. Integers must be in [minimum, maximum].
const nlohmann::json& json_member(const nlohmann::json& object, const char* key, const std::string& name);
std::string json_string(const nlohmann::json& object, const char* key, const std::string& name);
bool json_bool(const nlohmann::json& object, const char* key, const std::string& name);
std::int64_t json_integer(const nlohmann::json& object, const char* key, const std::string& name,
                          std::int64_t minimum, std::int64_t maximum);

// nlohmann's message without its "[json.exception...]" tag.
std::string json_reason(const nlohmann::json::exception& exception);

}  // namespace heddle
