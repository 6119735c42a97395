// The frame every command runs in: find the command, read its words, the config file, then the flags.
#include <algorithm>
#include <filesystem>

#include "kernels/error.h"
#include "trainer/commands/command.h"
#include "trainer/config/check.h"
#include "trainer/config/config_file.h"
#include "trainer/config/flags.h"

namespace heddle {
namespace {

const Command& find_command(const std::vector<Command>& commands, const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands) {
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  const std::string near = nearest(name, names);
  throw usage_error("unknown command '{}'; {}", name,
                    near.empty() ? "heddle --help lists the commands" : "did you mean heddle " + near + "?");
}

// All options bound to the fields of one CommandLine, and which of them the command takes.
struct Session {
  Session(const Command& command, int argc, char** argv) {
    line.argc = argc;
    line.argv = argv;
    line.command = command.name;
    declare_options(line.options, table);
    const std::size_t shared = table.sections().size();
    line.own_options = command.own.make(table);
    sections = command.sections;
    for (std::size_t i = shared; i < table.sections().size(); ++i)
      sections.push_back(table.sections()[i].name);
  }

  CommandLine line;
  OptionTable table;
  std::vector<std::string> sections;
};

// Gives the words that belong to no flag to what the command calls them.
void place_arguments(const Command& command, const OptionTable& table, Flags& flags) {
  if (flags.arguments.empty()) return;
  const Option* option = table.find(command.argument_key);
  const bool many = option != nullptr && option->kind == Option::Kind::list;
  const std::string& first = flags.arguments.front();
  if (command.argument_key.empty() || (flags.arguments.size() > 1 && !many)) {
    const std::string& extra = command.argument_key.empty() ? first : flags.arguments[1];
    const bool is_truth = extra == "true" || extra == "false";
    throw usage_error("unexpected word '{}'; heddle {} takes {}{}", extra, command.name,
                      command.arguments.empty() ? "only options" : command.arguments,
                      is_truth ? "; a switch takes its value with '=', as in --bias=false" : "");
  }
  if (command.argument_key == "config") {
    if (!flags.config.empty()) throw usage_error("two config files: {} and --config {}", first, flags.config);
    flags.config = first;
    return;
  }
  for (const Flags::Given& given : flags.given)
    if (given.key == command.argument_key) throw usage_error("both '{}' and {} are given", first, given.flag);
  flags.given.push_back({command.argument_key, "'" + first + "'", flags.arguments});
}

// A command that takes no model's options gets its model from a checkpoint: a layout is checked against that one, later.
Options checkable(const Command& command, const Options& options) {
  Options checked = options;
  if (std::find(command.sections.begin(), command.sections.end(), "model") == command.sections.end())
    checked.parallel = ParallelOptions();
  return checked;
}

int run_command(const Command& command, const std::vector<std::string>& words, int argc, char** argv,
                std::ostream& out) {
  Session session(command, argc, argv);
  Flags flags = parse_flags(words, session.table, command.name, session.sections);
  if (flags.help) {
    out << command_help(command, session.table, session.sections);
    return kExitDone;
  }
  place_arguments(command, session.table, flags);
  if (!flags.config.empty()) apply_config(read_config_file(flags.config), flags.config, session.table);
  apply_flags(flags, session.table);

  CommandLine& line = session.line;
  line.config_file = flags.config;
  if (line.options.train.run_folder.empty()) {
    const std::string name = std::filesystem::path(flags.config).stem().string();
    line.options.train.run_folder = "runs/" + (name.empty() ? "unnamed" : name);
  }
  check(checkable(command, line.options));
  if (flags.print_config) {
    out << session.table.to_config(session.sections, /*with_origins=*/true);
    return kExitDone;
  }
  return command.run(line);
}

int run_help(const std::vector<Command>& commands, const std::vector<std::string>& words, std::ostream& out) {
  if (words.empty()) {
    out << general_help(commands);
  } else if (words[0] == "config") {
    out << config_help();
  } else {
    const Command& command = find_command(commands, words[0]);
    const Session session(command, 0, nullptr);
    out << command_help(command, session.table, session.sections);
  }
  return kExitDone;
}

}  // namespace

int run_command_line(const std::vector<Command>& commands, int argc, char** argv, std::ostream& out) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (words.empty()) {
    out << general_help(commands);
    return kExitUsage;
  }
  const std::string first = words.front();
  words.erase(words.begin());
  if (first == "help" || first == "--help" || first == "-h") return run_help(commands, words, out);
  if (first == "--version" || first == "version") {
    out << version_text();
    return kExitDone;
  }
  if (first.starts_with('-'))
    throw usage_error("'{}' where a command belongs; heddle --help lists the commands", first);
  return run_command(find_command(commands, first), words, argc, argv, out);
}

}  // namespace heddle
