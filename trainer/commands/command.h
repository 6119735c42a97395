// Commands of the heddle binary: `heddle NAME ...`, one file each, and the table that lists them.
//
// A command says which sections of the options it takes and gets a CommandLine whose options are parsed, bounded
// and checked against each other; it starts MPI itself if it needs it. Parsing, help, --print-config, --config and
// the exit code are the frame's. To add a command: write Command my_command() in a file of its own and list it in
// command_table.cpp.
#pragma once

#include <any>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "trainer/config/option_table.h"
#include "trainer/config/options.h"

namespace heddle {

struct CommandLine {
  int argc = 0;  // of main, for MPI_Init
  char** argv = nullptr;
  std::string command;
  Options options;
  std::string config_file;  // empty: none was given
  std::any own_options;

  // The struct of options that Command::own declared.
  template <typename T>
  const T& own() const {
    return *std::any_cast<const std::shared_ptr<T>&>(own_options);
  }
};

// Options of one command alone: a struct, and the function that declares a section of its own for it.
class OwnOptions {
 public:
  OwnOptions() = default;
  template <typename T>
  OwnOptions(void (*declare)(T&, OptionTable&))
      : make_([declare](OptionTable& table) {
          auto options = std::make_shared<T>();
          declare(*options, table);
          return std::any(options);
        }) {}

  std::any make(OptionTable& table) const { return make_ ? make_(table) : std::any(); }

 private:
  std::function<std::any(OptionTable&)> make_;
};

struct Command {
  std::string name;
  std::string summary;    // one line that completes "heddle NAME: "
  std::string arguments;  // in the usage line: "[CONFIG.cfg]", "CHECKPOINT", "RUN..."
  // The key words without a flag go to: "config", a single option ("load.checkpoint"), a list ("plot.runs") or "".
  std::string argument_key;
  std::vector<std::string> sections;
  std::vector<std::string> examples;  // whole command lines that work
  int (*run)(const CommandLine&);     // returns an ExitCode
  OwnOptions own;
};

const std::vector<Command>& all_commands();  // command_table.cpp

// Everything between main's arguments and the command's run(); also the commands' help, `heddle help X` and
// --version, which go to `out`. Throws Error.
int run_command_line(const std::vector<Command>& commands, int argc, char** argv, std::ostream& out);

// help.cpp
std::string general_help(const std::vector<Command>& commands);
std::string config_help();
// `sections`: those of the command, its own included.
std::string command_help(const Command& command, const OptionTable& table, const std::vector<std::string>& sections);

// version.cpp
std::string version_text();   // heddle, revision, compiler, MPI, libraries; one line each
std::string gpu_libraries();  // "CUDA 13.0, driver for CUDA 13.0, cuBLASLt 13.1.0, NCCL 2.28.9"; empty: built without

}  // namespace heddle
