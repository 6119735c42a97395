#include <fmt/format.h>

#include <algorithm>

#include "trainer/commands/command.h"

namespace heddle {
namespace {

constexpr std::size_t kWidth = 100;      // columns of a line of help
constexpr std::size_t kHelpColumn = 34;  // where the explanation of an option begins

// `text` wrapped at blanks, continuation lines indented to `column`; the first line starts there already.
std::string wrap(const std::string& text, std::size_t column) {
  std::string result;
  std::size_t at = column, begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::size_t length = end - begin;
    if (at > column && at + 1 + length > kWidth) {
      result += '\n' + std::string(column, ' ');
      at = column;
    } else if (at > column) {
      result += ' ';
      ++at;
    }
    result += text.substr(begin, length);
    at += length;
    begin = end + 1;
  }
  return result;
}

std::string option_help(const Option& option) {
  std::string left = "  --" + option.flag();
  left += option.kind == Option::Kind::toggle ? "[=false]" : ' ' + option.expected;
  std::string right = option.help;
  const std::string defaults = join(option.defaults, " ");
  if (!defaults.empty()) right += " [" + defaults + "]";
  const bool fits = left.size() + 2 <= kHelpColumn;
  const std::string gap =
      fits ? std::string(kHelpColumn - left.size(), ' ') : '\n' + std::string(kHelpColumn, ' ');
  return left + gap + wrap(right, kHelpColumn) + '\n';
}

}  // namespace

std::string general_help(const std::vector<Command>& commands) {
  std::string text =
      "heddle trains Transformers with data and tensor parallelism.\n\n"
      "Usage: heddle COMMAND [ARGUMENT...] [--option VALUE]...\n"
      "       mpirun -n RANKS heddle COMMAND ...\n\n"
      "Commands:\n";
  constexpr std::size_t kNameColumn = 12;
  for (const Command& command : commands) {
    const std::string gap(kNameColumn - std::min(command.name.size(), kNameColumn - 1), ' ');
    text += "  " + command.name + gap + command.summary + '\n';
  }
  text +=
      "\nheddle help COMMAND   what a command does, an example, and its options with their defaults\n"
      "heddle help config    how config files are written\n"
      "heddle --version      versions of heddle, its compiler and its libraries\n";
  return text;
}

std::string config_help() {
  return R"(A config file holds options by section. Every option is also a flag, under the same name with dashes:

    # a comment
    [train]
    length = 1000steps      # --length 1000steps or --train.length 1000steps
    global_batch = 32       # --global-batch 32

Flags win over the file, the file over the defaults. --print-config shows every option with its value and where
it comes from, in the form of a config file that can be used as one. Sections a command does not use are read and
checked, so that one file serves heddle prepare, train and evaluate.

Values
  switches      true or false; as a flag, --resume, or --resume=false with an '='
  lists         one line per value: data = a.txt, data = b.txt; flags (--data a.txt --data b.txt) replace them all
  periods       100steps  250kt 1Mt 1.5Gt (thousand, million, billion tokens)  2epochs  90s 10min 1h
  texts         are taken as they stand, without quotes; blanks around them are dropped

A '#' starts a comment anywhere, also inside a value. Inside values write \x23 for '#', \\ for a backslash, \n for
a new line, \x20 for a blank at an end. A ';' is no comment. Paths are relative to the current folder.
)";
}

std::string command_help(const Command& command, const OptionTable& table,
                         const std::vector<std::string>& sections) {
  const bool takes_config = !command.sections.empty();
  std::string text =
      fmt::format("heddle {}: {}\n\nUsage: heddle {} {}{}[--option VALUE]...\n", command.name,
                  command.summary, command.name, command.arguments, command.arguments.empty() ? "" : " ");
  if (!command.examples.empty()) text += fmt::format("\nExample:\n  {}\n", join(command.examples, "\n  "));
  if (takes_config)
    text +=
        "\nEvery option can also stand in a config file, under its [section] with '_' for '-' (heddle help "
        "config).\n";
  for (const auto& section : table.sections()) {
    if (std::find(sections.begin(), sections.end(), section.name) == sections.end()) continue;
    text += fmt::format("\n[{}] {}\n", section.name, section.summary);
    for (const Option& option : table.options())
      if (option.section == section.name) text += option_help(option);
  }
  text += "\nOf every command\n";
  if (takes_config) text += "  --config <path>                 config file to read\n";
  text +=
      "  --print-config                  print all options, their values and origins, and stop\n"
      "  --help                          print this and stop\n";
  return text;
}

}  // namespace heddle
