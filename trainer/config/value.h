// Values of options: how each type is written, read, and bounded.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/config/period.h"

namespace heddle {

// What is wrong with a value and what would have been right; the caller adds the flag or the file and line.
class BadValue : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// parse_value throws BadValue; print_value gives the shortest text that parse_value reads back to the same
// value.
void parse_value(const std::string& text, std::int64_t& value);
void parse_value(const std::string& text, double& value);
void parse_value(const std::string& text, bool& value);  // true/false, yes/no, on/off, 1/0 in any case
void parse_value(const std::string& text, Period& value);
void parse_value(const std::string& text, std::string& value);
std::string print_value(std::int64_t value);
std::string print_value(double value);
std::string print_value(bool value);
std::string print_value(const Period& value);
std::string print_value(const std::string& value);

// The values an option may take; both ends belong to it unless `below` says that `highest` does not.
template <typename T>
struct Range {
  T lowest = std::numeric_limits<T>::lowest();
  T highest = std::numeric_limits<T>::max();
  bool below = false;  // value < highest instead of value <= highest
  bool above = false;  // value > lowest instead of value >= lowest
};

inline Range<std::int64_t> at_least(std::int64_t lowest) {
  return {lowest, std::numeric_limits<std::int64_t>::max(), false, false};
}
inline Range<std::int64_t> between(std::int64_t lowest, std::int64_t highest) {
  return {lowest, highest, false, false};
}
inline Range<double> not_negative() {
  return {0, std::numeric_limits<double>::max(), false, false};
}
inline Range<double> positive() {
  return {0, std::numeric_limits<double>::max(), false, true};
}
inline Range<double> from_zero_below_one() {
  return {0, 1, true, false};
}

template <typename T>
void check_range(const std::string& text, T value, const Range<T>& range);  // throws BadValue

struct PeriodRule {
  enum class Units : std::uint8_t { all, no_time, only_time };
  Units units = Units::all;
  bool may_be_zero = true;
};
void check_period(const std::string& text, const Period& value, const PeriodRule& rule);  // throws BadValue

// Names of an enumeration's values, in order; specialised beside the enumeration. A choice that heddle knows
// but that is no value of the option (DeviceKind::plan) simply comes after the last name.
template <typename E>
struct Choices;

template <typename E>
std::vector<std::string> choice_names() {
  return {Choices<E>::names.begin(), Choices<E>::names.end()};
}

// The index of `text` in `names`; throws BadValue that lists them.
int parse_choice(const std::string& text, const std::vector<std::string>& names);

// The candidate with the fewest edits, if they are few enough to be a slip, else a single one that contains
// the given text or the other way round; empty if nothing is near. '-' and '_' count as the same letter.
std::string nearest(std::string_view given, const std::vector<std::string>& candidates);

// "a, b, c"
std::string join(const std::vector<std::string>& words, std::string_view separator);

// Values in a file. Boost ends a value at '#' and trims it, so what would not survive is written with a
// backslash:
// \\ \n \t \r and \xHH (two hexadecimal digits; '#' is \x23). unescape throws BadValue on any other use of
// '\'.
std::string escape(std::string_view value);
std::string unescape(const std::string& text);

}  // namespace heddle
