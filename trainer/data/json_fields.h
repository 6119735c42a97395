// Typed members of JSON objects from files that are not trusted. `name` is the file, for messages.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace heddle {

// A file of at most `max_bytes` that holds one JSON object, by the rules of parse_strict_json.
nlohmann::json read_json_file(const std::string& path, std::uint64_t max_bytes);

// The member `key` of an object; throws Error naming file and key if it is missing or of another type.
// Integers must be in [minimum, maximum].
const nlohmann::json& json_member(const nlohmann::json& object, const char* key, const std::string& name);
std::string json_string(const nlohmann::json& object, const char* key, const std::string& name);
bool json_bool(const nlohmann::json& object, const char* key, const std::string& name);
std::int64_t json_integer(const nlohmann::json& object, const char* key, const std::string& name,
                          std::int64_t minimum, std::int64_t maximum);

}  // namespace heddle
