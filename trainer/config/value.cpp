#include "trainer/config/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace heddle {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

// Reads all of `text` or nothing: no blanks, no trailing letters, no '+', no hexadecimal numbers.
template <typename T>
bool read_number(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, value);
  return status == std::errc() && stop == end && !text.empty();
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

}  // namespace

void parse_value(const std::string& text, std::int64_t& value) {
  if (!read_number(text, value)) throw BadValue(fmt::format("'{}' is not a whole number", text));
}

void parse_value(const std::string& text, double& value) {
  if (!read_number(text, value) || !std::isfinite(value))
    throw BadValue(fmt::format("'{}' is not a number", text));
}

void parse_value(const std::string& text, bool& value) {
  const std::string word = lower(text);
  if (word == "true" || word == "yes" || word == "on" || word == "1") {
    value = true;
  } else if (word == "false" || word == "no" || word == "off" || word == "0") {
    value = false;
  } else {
    throw BadValue(fmt::format("'{}' is neither true nor false", text));
  }
}

void parse_value(const std::string& text, Period& value) {
  value = parse_period(text);
}
void parse_value(const std::string& text, std::string& value) {
  value = text;
}

std::string print_value(std::int64_t value) {
  return fmt::format("{}", value);
}
std::string print_value(bool value) {
  return value ? "true" : "false";
}
std::string print_value(const Period& value) {
  return to_string(value);
}
std::string print_value(const std::string& value) {
  return value;
}

std::string print_value(double value) {
  // fmt prints the shortest digits that read back to the same double, but "1.0" and "6e-04" as "1" and "6e-4"
  // say the same.
  std::string text = fmt::format("{}", value);
  if (text.size() > 2 && text.ends_with(".0")) text.resize(text.size() - 2);
  if (const std::size_t e = text.find("e-0"); e != std::string::npos) text.erase(e + 2, 1);
  return text;
}

template <typename T>
void check_range(const std::string& text, T value, const Range<T>& range) {
  const bool low_enough = range.below ? value < range.highest : value <= range.highest;
  const bool high_enough = range.above ? value > range.lowest : value >= range.lowest;
  if (low_enough && high_enough) return;

  const std::string low = print_value(range.lowest), high = print_value(range.highest);
  std::string must;
  if (range.highest == std::numeric_limits<T>::max()) {
    must = fmt::format("must be {} {}", range.above ? "above" : "at least", low);
  } else if (range.below || range.above) {
    must = fmt::format("must be {} {} and {} {}", range.above ? "above" : "at least", low,
                       range.below ? "below" : "at most", high);
  } else {
    must = fmt::format("must be from {} to {}", low, high);
  }
  throw BadValue(fmt::format("'{}' is out of range: it {}", text, must));
}
template void check_range(const std::string&, std::int64_t, const Range<std::int64_t>&);
template void check_range(const std::string&, double, const Range<double>&);

void check_period(const std::string& text, const Period& value, const PeriodRule& rule) {
  using Units = PeriodRule::Units;
  if (value.is_zero()) {
    if (!rule.may_be_zero) throw BadValue(fmt::format("'{}' is out of range: it must be above 0", text));
    return;
  }
  if (rule.units == Units::no_time && value.is_time())
    throw BadValue(fmt::format("'{}' is a time, but steps, tokens or epochs are needed here", text));
  if (rule.units == Units::only_time && !value.is_time())
    throw BadValue(fmt::format("'{}' is not a time: write 90s, 10min or 1h", text));
}

int parse_choice(const std::string& text, const std::vector<std::string>& names) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return static_cast<int>(found - names.begin());
  std::string message = fmt::format("'{}' is none of {}", text, join(names, ", "));
  if (const std::string near = nearest(text, names); !near.empty() && names.size() > 2)
    message += fmt::format("; did you mean {}?", near);
  throw BadValue(message);
}

namespace {

// Edits that lead from one word to the other: a letter more, less or another, or two neighbours swapped
// (optimal string alignment). '-' and '_' are one letter, because both are names of the same option.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const auto same = [](char x, char y) {
    return x == y || ((x == '-' || x == '_') && (y == '-' || y == '_'));
  };
  // Rows i - 2, i - 1 and i of the table: edits between the first i letters of a and the first j of b.
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, above);
    std::swap(above, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool equal = same(a[i - 1], b[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (equal ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]);
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view given, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongestName = 100;  // the distance takes quadratic time
  if (given.empty() || given.size() > kLongestName) return {};
  const std::string word = lower(given);
  std::string best;
  std::size_t fewest = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t edits = edit_distance(word, lower(candidate));
    if (edits < fewest) {
      fewest = edits;
      best = candidate;
    }
  }
  if (!best.empty() || word.size() < 3) return best;

  for (const std::string& candidate : candidates) {
    const bool inside = candidate.find(word) != std::string::npos ||
                        (candidate.size() >= 4 && word.find(candidate) != std::string::npos);
    if (!inside) continue;
    if (!best.empty()) return {};  // several: naming one would be a guess
    best = candidate;
  }
  return best;
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += separator;
    text += words[i];
  }
  return text;
}

std::string escape(std::string_view value) {
  std::string text;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    const bool at_end = i == 0 || i + 1 == value.size();
    if (c == '\\') {
      text += "\\\\";
    } else if (c == '\n') {
      text += "\\n";
    } else if (c == '\t') {
      text += "\\t";
    } else if (c == '\r') {
      text += "\\r";
    } else if (is_control(c) || c == '#' || (c == ' ' && at_end)) {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text;
}

std::string unescape(const std::string& text) {
  std::string value;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      value += text[i];
      continue;
    }
    const char kind = i + 1 < text.size() ? text[++i] : '\0';
    unsigned code = 0;
    switch (kind) {
      case '\\':
        value += '\\';
        break;
      case 'n':
        value += '\n';
        break;
      case 't':
        value += '\t';
        break;
      case 'r':
        value += '\r';
        break;
      case 'x': {
        const char* digits = text.data() + i + 1;
        const char* end = digits + std::min<std::size_t>(2, text.size() - i - 1);
        const auto [stop, status] = std::from_chars(digits, end, code, 16);
        if (status == std::errc() && stop == digits + 2) {
          value += static_cast<char>(code);
          i += 2;
          break;
        }
        [[fallthrough]];
      }
      default:
        throw BadValue(fmt::format(
            "'{}' has a lone backslash: write \\\\ for one (\\n, \\t, \\r and \\xHH are known)", text));
    }
  }
  return value;
}

}  // namespace heddle
