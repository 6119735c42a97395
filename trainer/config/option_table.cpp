#include "trainer/config/option_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "kernels/error.h"
#include "trainer/config/options.h"

namespace heddle {

std::string Option::flag() const {
  std::string result = name;
  std::replace(result.begin(), result.end(), '_', '-');
  return result;
}

void OptionTable::section(const std::string& name, const std::string& summary) {
  sections_.push_back({name, summary});
}

void OptionTable::add_row(Option option) {
  option.section = sections_.at(sections_.size() - 1).name;
  if (find_flag(option.flag())) throw std::logic_error("option " + option.name + " is declared twice");
  option.defaults = option.get();
  options_.push_back(std::move(option));
}

namespace {

// A row for one value of type T that `check` may refuse.
template <typename T, typename Check>
Option single(const std::string& name, T* field, const std::string& help, const std::string& expected,
              Check check) {
  Option option;
  option.name = name;
  option.help = help;
  option.expected = expected;
  option.set = [field, check](const std::vector<std::string>& texts) {
    T value{};
    parse_value(texts.at(0), value);
    check(texts.at(0), value);
    *field = std::move(value);
  };
  option.get = [field] { return std::vector<std::string>{print_value(*field)}; };
  return option;
}

}  // namespace

void OptionTable::add(const std::string& name, std::int64_t* field, Range<std::int64_t> range,
                      const std::string& help) {
  add_row(single(name, field, help, "<number>",
                 [range](const std::string& text, std::int64_t value) { check_range(text, value, range); }));
}

void OptionTable::add(const std::string& name, double* field, Range<double> range, const std::string& help) {
  add_row(single(name, field, help, "<number>",
                 [range](const std::string& text, double value) { check_range(text, value, range); }));
}

void OptionTable::add(const std::string& name, Period* field, PeriodRule rule, const std::string& help) {
  const bool time = rule.units == PeriodRule::Units::only_time;
  add_row(single(name, field, help, time ? "<time>" : "<period>",
                 [rule](const std::string& text, const Period& value) { check_period(text, value, rule); }));
}

void OptionTable::add(const std::string& name, bool* field, const std::string& help) {
  Option option = single(name, field, help, "true|false", [](const std::string&, bool) {});
  option.kind = Option::Kind::toggle;
  add_row(std::move(option));
}

void OptionTable::add(const std::string& name, std::string* field, const std::string& help,
                      const std::string& expected) {
  add_row(single(name, field, help, expected, [](const std::string&, const std::string&) {}));
}

void OptionTable::add(const std::string& name, std::vector<std::string>* field, const std::string& help,
                      const std::string& expected) {
  Option option;
  option.name = name;
  option.help = help;
  option.expected = expected;
  option.kind = Option::Kind::list;
  option.set = [field](const std::vector<std::string>& texts) {
    std::vector<std::string> values = texts;
    std::erase(values, "");  // an empty value empties the list
    *field = std::move(values);
  };
  option.get = [field] { return *field; };
  add_row(std::move(option));
}

void OptionTable::add_choice(const std::string& name, const std::vector<std::string>& names,
                             std::function<void(int)> set, std::function<int()> get,
                             const std::string& help) {
  Option option;
  option.name = name;
  option.help = help;
  option.expected = join(names, "|");
  option.set = [names, set = std::move(set)](const std::vector<std::string>& texts) {
    set(parse_choice(texts.at(0), names));
  };
  option.get = [names, get = std::move(get)] {
    return std::vector<std::string>{names.at(static_cast<std::size_t>(get()))};
  };
  add_row(std::move(option));
}

const Option* OptionTable::find(const std::string& key) const {
  const auto found =
      std::find_if(options_.begin(), options_.end(), [&](const Option& o) { return o.key() == key; });
  return found == options_.end() ? nullptr : &*found;
}

const Option* OptionTable::find_flag(const std::string& flag) const {
  const auto found = std::find_if(options_.begin(), options_.end(),
                                  [&](const Option& o) { return o.flag() == flag || o.key() == flag; });
  return found == options_.end() ? nullptr : &*found;
}

void OptionTable::set(const std::string& key, const std::vector<std::string>& values,
                      const std::string& origin, const std::string& where) {
  for (Option& option : options_) {
    if (option.key() != key) continue;
    try {
      option.set(values);
    } catch (const BadValue& bad) {
      throw usage_error("{}: {}", where, bad.what());
    }
    option.origin = origin;
    return;
  }
  throw std::logic_error("no option " + key);
}

std::string OptionTable::to_config(const std::vector<std::string>& sections, bool with_origins) const {
  std::string text;
  for (const std::string& section : sections) {
    text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
    for (const Option& option : options_) {
      if (option.section != section) continue;
      std::vector<std::string> values = option.get();
      if (values.empty()) values.push_back("");
      for (const std::string& value : values) {
        std::string line = fmt::format("{} = {}", option.name, escape(value));
        while (line.back() == ' ') line.pop_back();
        constexpr std::size_t kOriginColumn = 40;
        text += with_origins ? fmt::format("{:<{}} # {}\n", line, kOriginColumn, option.origin) : line + '\n';
      }
    }
  }
  return text;
}

}  // namespace heddle
