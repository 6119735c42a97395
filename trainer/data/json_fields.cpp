#include "trainer/data/json_fields.h"

#include "kernels/error.h"
#include "trainer/files.h"
#include "trainer/strict_json.h"

namespace heddle {

nlohmann::json read_json_file(const std::string& path, std::uint64_t max_bytes) {
  return parse_strict_json(read_small_file(path, max_bytes), path);
}

const nlohmann::json& json_member(const nlohmann::json& object, const char* key, const std::string& name) {
  if (!object.is_object()) throw error("{}: an object with the key \"{}\" is missing", name, key);
  const auto found = object.find(key);
  if (found == object.end()) throw error("{}: the key \"{}\" is missing", name, key);
  return *found;
}

std::string json_string(const nlohmann::json& object, const char* key, const std::string& name) {
  const nlohmann::json& value = json_member(object, key, name);
  if (!value.is_string()) throw error("{}: \"{}\" is not a string", name, key);
  return value.get<std::string>();
}

bool json_bool(const nlohmann::json& object, const char* key, const std::string& name) {
  const nlohmann::json& value = json_member(object, key, name);
  if (!value.is_boolean()) throw error("{}: \"{}\" is neither true nor false", name, key);
  return value.get<bool>();
}

std::int64_t json_integer(const nlohmann::json& object, const char* key, const std::string& name,
                          std::int64_t minimum, std::int64_t maximum) {
  const nlohmann::json& value = json_member(object, key, name);
  // A number beyond 64 bits becomes a double in nlohmann::json, so is_number_integer() refuses it too.
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX)) {
    throw error("{}: \"{}\" is not an integer", name, key);
  }
  const std::int64_t number = value.get<std::int64_t>();
  if (number < minimum || number > maximum) {
    throw error("{}: \"{}\" is {}, not in [{}, {}]", name, key, number, minimum, maximum);
  }
  return number;
}

}  // namespace heddle
