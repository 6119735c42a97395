#include "trainer/config/flags.h"

#include <algorithm>
#include <boost/program_options.hpp>

#include "kernels/error.h"

namespace heddle {
namespace {

namespace po = boost::program_options;

// Flags of every command, which are no options of a config file.
constexpr const char *kHelp = "help", *kConfig = "config", *kPrintConfig = "print-config";

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Every option under two names, the key (which Boost then reports) and the short flag.
void describe(const OptionTable& table, po::options_description& description) {
  for (const Option& option : table.options()) {
    description.add_options()((option.key() + ',' + option.flag()).c_str(), po::value<std::string>(), "");
  }
  description.add_options()(kHelp, "")(kPrintConfig, "")(kConfig, po::value<std::string>(), "");
}

[[noreturn]] void throw_unknown(const std::string& word, const OptionTable& table, const std::string& command,
                                const std::vector<std::string>& sections) {
  const std::string flag = word.substr(0, word.find('='));
  const std::string name = flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
  const Option* negated = name.starts_with("no-") ? table.find_flag(name.substr(3)) : nullptr;
  if (negated && negated->kind == Option::Kind::toggle)
    throw usage_error("unknown option {}; write --{}=false", flag, negated->flag());

  std::vector<std::string> names{kHelp, kConfig, kPrintConfig};
  for (const Option& option : table.options())
    if (contains(sections, option.section)) names.push_back(option.flag());
  std::string near = nearest(name, names);
  if (near.empty() && name.find('.') != std::string::npos)
    near = nearest(name.substr(name.find('.') + 1), names);
  throw usage_error(
      "unknown option {}; {}", flag,
      near.empty() ? "heddle " + command + " --help lists those it has" : "did you mean --" + near + "?");
}

[[noreturn]] void throw_missing_value(const std::string& name, const OptionTable& table) {
  const Option* option = table.find_flag(name);
  const std::string flag = "--" + (option ? option->flag() : name);  // Boost reports the key
  throw usage_error("{} needs a value: {} {}", flag, flag, option ? option->expected : "<path>");
}

// The option or flag of every command that a word like --seed or --seed=3 names.
bool names_flag(const std::string& word, const OptionTable& table) {
  if (!word.starts_with("--")) return false;
  const std::string name = word.substr(2, word.find('=') - 2);
  return table.find_flag(name) || name == kHelp || name == kConfig || name == kPrintConfig;
}

// --resume becomes --resume=true. Boost's implicit_value would do that too, but it takes the next word for
// the value if there is one: `--resume configs/a.cfg` would lose its config.
std::vector<std::string> with_explicit_toggles(std::vector<std::string> words, const OptionTable& table) {
  for (std::string& word : words) {
    const Option* option = word.starts_with("--") ? table.find_flag(word.substr(2)) : nullptr;
    if (option && option->kind == Option::Kind::toggle) word += "=true";
  }
  return words;
}

std::vector<po::option> parse_with_boost(const std::vector<std::string>& words, const OptionTable& table) {
  po::options_description description;
  describe(table, description);
  // No guessing: --train.st must not silently mean train.steps.
  using Style = po::command_line_style::style_t;
  constexpr int kStyle = Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next;
  try {
    return po::command_line_parser(with_explicit_toggles(words, table))
        .options(description)
        .style(kStyle)
        .allow_unregistered()
        .run()
        .options;
  } catch (const po::invalid_command_line_syntax& syntax) {
    std::string flag = syntax.get_option_name();
    flag = "--" + flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
    flag = flag.substr(0, flag.find('='));
    switch (syntax.kind()) {
      case syntax.missing_parameter:
        throw_missing_value(flag.substr(2), table);
      case syntax.empty_adjacent_parameter:
        throw usage_error("{}= has no value; an empty one is written {} ''", flag, flag);
      case syntax.extra_parameter:
        throw usage_error("{} takes no value", flag);
      default:
        throw usage_error("{}", syntax.what());
    }
  }
}

void add_given(Flags& flags, const std::string& key, const std::string& flag, const std::string& value,
               bool is_list) {
  const auto found = std::find_if(flags.given.begin(), flags.given.end(),
                                  [&](const Flags::Given& g) { return g.key == key; });
  if (found == flags.given.end()) {
    flags.given.push_back({key, flag, {value}});
  } else if (is_list) {
    found->values.push_back(value);
  } else {
    throw usage_error("{} is given twice", flag);
  }
}

}  // namespace

Flags parse_flags(const std::vector<std::string>& words, const OptionTable& table, const std::string& command,
                  const std::vector<std::string>& sections) {
  Flags flags;
  const auto end = std::find(words.begin(), words.end(), "--");  // no flags from here on
  for (const po::option& parsed : parse_with_boost({words.begin(), end}, table)) {
    const std::string& word = parsed.original_tokens.at(0);
    if (parsed.position_key >= 0) {
      if (word == "-h") {
        flags.help = true;
      } else if (word.size() > 1 && word[0] == '-') {
        throw_unknown(word, table, command, sections);
      } else {
        flags.arguments.push_back(word);
      }
      continue;
    }
    // With guessing off, Boost takes a known flag for the value of the one before.
    if (parsed.original_tokens.size() > 1 && names_flag(parsed.original_tokens[1], table))
      throw_missing_value(word.substr(2), table);
    if (parsed.unregistered) throw_unknown(word, table, command, sections);
    if (parsed.string_key == kHelp) {
      flags.help = true;
    } else if (parsed.string_key == kPrintConfig) {
      flags.print_config = true;
    } else if (parsed.string_key == kConfig) {
      if (!flags.config.empty()) throw usage_error("--config is given twice");
      flags.config = parsed.value.at(0);
    } else {
      const Option& option = *table.find(parsed.string_key);
      const std::string flag = word.substr(0, word.find('='));
      if (!contains(sections, option.section))
        throw usage_error("{} is an option of [{}], which heddle {} does not use", flag, option.section,
                          command);
      add_given(flags, option.key(), flag, parsed.value.at(0), option.kind == Option::Kind::list);
    }
  }
  if (end != words.end()) flags.arguments.insert(flags.arguments.end(), end + 1, words.end());
  return flags;
}

void apply_flags(const Flags& flags, OptionTable& table) {
  for (const Flags::Given& given : flags.given) table.set(given.key, given.values, "flag", given.flag);
}

}  // namespace heddle
