#include "trainer/commands/command.h"

namespace heddle {

Command plot_command();

// In the order of the help, which is the order in which a person meets them.
const std::vector<Command>& all_commands() {
  static const std::vector<Command> commands{
      plot_command(),
  };
  return commands;
}

}  // namespace heddle
