// Config files: INI text read through Boost.Program_options, with errors that name the line.
//
//   # a comment, to the end of the line
//   [model]
//   num_layers = 12       # also a comment
//
// Boost ends a value at any '#'; a '#' that follows a letter directly is refused here, because then the value
// and not a comment was meant. \x23 writes one (value.h, escape). Values need no quotes; blanks around them
// are dropped.
#pragma once

#include <string>

#include "trainer/config/option_table.h"

namespace heddle {

// The text of a config file; throws UsageError if it cannot be read.
std::string read_config_file(const std::string& path);

// Sets the table's options from `text`; `name` (its path) begins every message. Options of sections the
// command at hand does not use are set as well: one file serves all commands. Throws UsageError for syntax,
// unknown sections and keys, duplicate keys and values that cannot be.
void apply_config(const std::string& text, const std::string& name, OptionTable& table);

}  // namespace heddle
