// OptionTable: one row per option, bound to the field it sets. The command-line parser, the config-file
// parser, the help and the printed config all walk this table.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "trainer/config/value.h"

namespace heddle {

struct Options;

struct Option {
  enum class Kind : std::uint8_t { value, toggle, list };

  std::string section;
  std::string name;  // of the key: "global_batch"
  std::string help;
  std::string expected;  // for the help: "<number>", "fp32|bf16"
  Kind kind = Kind::value;
  // Sets the field; throws BadValue. A list takes all its values at once, the others take one.
  std::function<void(const std::vector<std::string>&)> set;
  std::function<std::vector<std::string>()>
      get;                            // the field as it would be written; one element unless a list
  std::vector<std::string> defaults;  // get() at the time of declaration
  std::string origin = "default";     // or "configs/gpt.cfg:12", or "flag"

  std::string key() const { return section + '.' + name; }
  std::string flag() const;  // without dashes in front: "global-batch"
};

// Fields must outlive the table and hold their defaults when they are declared.
class OptionTable {
 public:
  OptionTable() = default;
  OptionTable(const OptionTable&) = delete;  // rows point at fields
  OptionTable& operator=(const OptionTable&) = delete;

  // Options declared from here on belong to this section.
  void section(const std::string& name, const std::string& summary);

  // A name must not have been declared in any section: it is also a flag.
  void add(const std::string& name, std::int64_t* field, Range<std::int64_t> range, const std::string& help);
  void add(const std::string& name, double* field, Range<double> range, const std::string& help);
  void add(const std::string& name, Period* field, PeriodRule rule, const std::string& help);
  void add(const std::string& name, bool* field, const std::string& help);
  void add(const std::string& name, std::string* field, const std::string& help,
           const std::string& expected = "<text>");
  void add(const std::string& name, std::vector<std::string>* field, const std::string& help,
           const std::string& expected = "<path>");
  template <typename E>
  void add_choice(const std::string& name, E* field, const std::string& help) {
    add_choice(
        name, choice_names<E>(), [field](int index) { *field = static_cast<E>(index); },
        [field] { return static_cast<int>(*field); }, help);
  }

  struct Section {
    std::string name;
    std::string summary;
  };
  const std::vector<Section>& sections() const { return sections_; }
  const std::vector<Option>& options() const { return options_; }
  const Option* find(const std::string& key) const;        // "train.seed"
  const Option* find_flag(const std::string& flag) const;  // "global-batch" or "train.global_batch"

  // Gives an option its value; `origin` as in Option, `where` begins the message of the UsageError.
  void set(const std::string& key, const std::vector<std::string>& values, const std::string& origin,
           const std::string& where);

  // The given sections as a config file; `with_origins` adds where each value comes from as a comment.
  std::string to_config(const std::vector<std::string>& sections, bool with_origins) const;

 private:
  void add_choice(const std::string& name, const std::vector<std::string>& names,
                  std::function<void(int)> set, std::function<int()> get, const std::string& help);
  void add_row(Option option);

  std::vector<Section> sections_;
  std::vector<Option> options_;
};

// Declares every section of `options` (declarations.cpp).
void declare_options(Options& options, OptionTable& table);

}  // namespace heddle
