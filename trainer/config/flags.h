// Flags: the words after `heddle COMMAND`, read through Boost.Program_options.
#pragma once

#include <string>
#include <vector>

#include "trainer/config/option_table.h"

namespace heddle {

struct Flags {
  struct Given {
    std::string key;   // "train.seed"
    std::string flag;  // as written: "--seed"
    std::vector<std::string> values;
  };
  std::vector<Given> given;            // in the order of their first appearance
  std::vector<std::string> arguments;  // words that belong to no flag
  std::string config;                  // of --config
  bool help = false;
  bool print_config = false;
};

// `command` ("train") stands in messages; flags of options outside `sections` are refused.
// Throws UsageError for unknown and repeated flags and for missing values; values are not looked at.
Flags parse_flags(const std::vector<std::string>& words, const OptionTable& table, const std::string& command,
                  const std::vector<std::string>& sections);

// Sets what was given, over anything set before.
void apply_flags(const Flags& flags, OptionTable& table);

}  // namespace heddle
