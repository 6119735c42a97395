#include "trainer/config/config_file.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>

#include "kernels/error.h"
#include "trainer/config/options.h"

namespace heddle {
namespace {

namespace po = boost::program_options;

constexpr std::size_t kMaxConfigBytes = 1 << 20;

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// Where a `name = value` stands. Boost does not say, so the lines are walked by its rules beside it.
struct Place {
  int line;
  std::string section;  // empty before the first [section]
  std::string name;
  std::string key() const { return section.empty() ? name : section + '.' + name; }
};

std::vector<std::string> section_names(const OptionTable& table) {
  std::vector<std::string> names;
  for (const auto& section : table.sections()) names.push_back(section.name);
  return names;
}

std::string at(const std::string& file, int line) {
  return fmt::format("{}:{}", file, line);
}

std::string begin_section(std::string_view line, const std::string& where, const OptionTable& table) {
  std::string section(line.substr(1, line.size() - 2));
  const std::vector<std::string> known = section_names(table);
  if (std::find(known.begin(), known.end(), section) != known.end()) return section;
  const std::string near = nearest(section, known);
  throw usage_error("{}: unknown section [{}]; {}", where, section,
                    near.empty() ? "known are " + join(known, ", ") : "did you mean [" + near + "]?");
}

std::vector<Place> find_places(const std::string& text, const std::string& file, const OptionTable& table) {
  if (text.starts_with("\xef\xbb\xbf"))
    throw usage_error("{}: begins with a byte order mark; save it as UTF-8 without one", at(file, 1));

  std::vector<Place> places;
  std::string section;
  std::istringstream stream(text);
  std::string raw;
  for (int number = 1; std::getline(stream, raw); ++number) {
    const std::size_t comment = raw.find('#');
    const std::string_view line = trim(std::string_view(raw).substr(0, comment));
    if (line.empty()) continue;
    if (line.front() == '[' && line.back() == ']') {
      section = begin_section(line, at(file, number), table);
      continue;
    }
    const std::size_t equals = line.find('=');
    const std::string name(trim(line.substr(0, equals)));
    if (equals == std::string_view::npos || name.empty())
      throw usage_error("{}: expected [section] or name = value, found '{}'", at(file, number), line);
    if (comment != std::string::npos && raw[comment - 1] != ' ' && raw[comment - 1] != '\t') {
      throw usage_error(
          "{}: '#' would end the value of {} at '{}'; write \\x23 for a '#', or a blank before a comment",
          at(file, number), name, trim(line.substr(equals + 1)));
    }
    places.push_back({number, section, name});
  }
  return places;
}

[[noreturn]] void throw_unknown_key(const Place& place, const std::string& file, const OptionTable& table) {
  const std::string where = at(file, place.line);
  std::vector<std::string> here, all;
  for (const Option& option : table.options()) {
    if (option.section == place.section) here.push_back(option.name);
    all.push_back(option.key());
    if (option.name == place.name) {
      throw usage_error("{}: '{}' belongs under [{}]{}", where, place.name, option.section,
                        place.section.empty() ? "" : ", not under [" + place.section + "]");
    }
  }
  if (place.section.empty()) {
    const std::string near = nearest(place.name, all);
    throw usage_error("{}: unknown key '{}' before the first [section]{}", where, place.name,
                      near.empty() ? "" : "; did you mean " + near + "?");
  }
  const std::string near = nearest(place.name, here);
  throw usage_error("{}: unknown key '{}' in [{}]; {}", where, place.name, place.section,
                    near.empty() ? "it knows " + join(here, ", ") : "did you mean " + near + "?");
}

// Boost's reading of the text: keys and values in the order of their lines.
std::vector<po::option> parse_with_boost(const std::string& text, const OptionTable& table) {
  po::options_description description;
  for (const Option& option : table.options())
    description.add_options()(option.key().c_str(), po::value<std::string>(), "");
  std::istringstream stream(text);
  return po::parse_config_file(stream, description, /*allow_unregistered=*/true).options;
}

}  // namespace

std::string read_config_file(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw usage_error("cannot read config {}: it is a folder, not a file", path);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw usage_error("cannot read config {}: {}", path, std::strerror(errno));
  std::string text(kMaxConfigBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) throw usage_error("cannot read config {}: {}", path, std::strerror(errno));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMaxConfigBytes)
    throw usage_error("config {} is larger than 1 MiB: not a config file", path);
  if (text.find('\0') != std::string::npos)
    throw usage_error("config {} holds binary data: not a config file", path);
  return text;
}

void apply_config(const std::string& text, const std::string& name, OptionTable& table) {
  const std::vector<Place> places = find_places(text, name, table);
  const std::vector<po::option> settings = parse_with_boost(text, table);
  if (settings.size() != places.size()) throw error("{}: cannot be read as a config file", name);

  struct Given {
    int line;
    std::vector<std::string> values;
  };
  std::map<std::string, Given> given;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Place& place = places[i];
    const std::string where = at(name, place.line);
    const Option* option = table.find(place.key());
    if (option == nullptr) throw_unknown_key(place, name, table);
    std::string value;
    try {
      value = unescape(settings[i].value.at(0));
    } catch (const BadValue& bad) {
      throw usage_error("{}: {}: {}", where, place.name, bad.what());
    }
    const auto [entry, is_new] = given.try_emplace(place.key(), Given{place.line, {}});
    if (!is_new && option->kind != Option::Kind::list) {
      throw usage_error("{}: '{}' is already set in line {}; remove one of the two", where, place.name,
                        entry->second.line);
    }
    entry->second.values.push_back(std::move(value));
  }
  // In the order of the lines, so that the first error in the file is the one reported.
  for (const Place& place : places) {
    const Given& entry = given.at(place.key());
    if (entry.line != place.line) continue;
    const std::string where = at(name, place.line);
    table.set(place.key(), entry.values, where, fmt::format("{}: {}", where, place.name));
  }
}

Options parse_config(const std::string& text, const std::string& name) {
  Options options;
  OptionTable table;
  declare_options(options, table);
  apply_config(text, name, table);
  return options;
}

}  // namespace heddle
