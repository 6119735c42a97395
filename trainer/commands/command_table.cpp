#include "trainer/commands/command.h"

namespace heddle {

Command prepare_command();
Command tokenize_command();
Command train_command();
Command evaluate_command();
Command generate_command();
Command translate_command();
Command average_command();
Command attention_command();
Command bleu_command();
Command inspect_command();
Command bench_command();
Command doctor_command();
Command plot_command();

// In the order of the help, which is the order in which a person meets them.
const std::vector<Command>& all_commands() {
  static const std::vector<Command> commands{
      prepare_command(), tokenize_command(), train_command(), evaluate_command(), generate_command(),
      translate_command(), average_command(), attention_command(), bleu_command(), inspect_command(), bench_command(),
      doctor_command(), plot_command(),
  };
  return commands;
}

}  // namespace heddle
