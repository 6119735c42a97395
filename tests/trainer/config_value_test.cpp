#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "trainer/config/value.h"

namespace heddle {
namespace {

template <typename T>
std::string bad(const std::string& text) {
  T value{};
  try {
    parse_value(text, value);
  } catch (const BadValue& error) {
    return error.what();
  }
  return "accepted";
}

template <typename T>
T parsed(const std::string& text) {
  T value{};
  parse_value(text, value);
  return value;
}

TEST(ConfigValue, NumbersAreReadWholeOrNotAtAll) {
  EXPECT_EQ(parsed<std::int64_t>("-12"), -12);
  EXPECT_EQ(parsed<std::int64_t>("9223372036854775807"), 9223372036854775807);
  for (const char* text : {"", "12x", "1.5", "0x10", " 1", "1 ", "+1", "9223372036854775808", "1e3"})
    EXPECT_EQ(bad<std::int64_t>(text), fmt::format("'{}' is not a whole number", text));

  EXPECT_EQ(parsed<double>("6e-4"), 6e-4);
  EXPECT_EQ(parsed<double>("3"), 3.0);
  for (const char* text : {"", "nan", "inf", "1e999", "0.1f", "1,5", "0x1p3"})
    EXPECT_EQ(bad<double>(text), fmt::format("'{}' is not a number", text));
}

TEST(ConfigValue, DoublesSurviveAsText) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-300, 300), mantissa(1, 10);
  for (int i = 0; i < 10000; ++i) {
    const double value = mantissa(random) * std::pow(10, exponent(random));
    EXPECT_EQ(parsed<double>(print_value(value)), value);
  }
  EXPECT_EQ(print_value(6e-4), "0.0006");
  EXPECT_EQ(print_value(6e-5), "6e-5");
  EXPECT_EQ(print_value(1.0), "1");
  EXPECT_EQ(print_value(0.0), "0");
}

TEST(ConfigValue, TruthHasFourSpellings) {
  for (const char* text : {"true", "yes", "on", "1", "TRUE", "Yes"}) EXPECT_TRUE(parsed<bool>(text));
  for (const char* text : {"false", "no", "off", "0", "False"}) EXPECT_FALSE(parsed<bool>(text));
  EXPECT_EQ(bad<bool>("maybe"), "'maybe' is neither true nor false");
  EXPECT_EQ(bad<bool>(""), "'' is neither true nor false");
}

template <typename T>
std::string out_of_range(T value, Range<T> range) {
  try {
    check_range(print_value(value), value, range);
  } catch (const BadValue& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ConfigValue, RangesSayWhatIsAllowed) {
  EXPECT_EQ(out_of_range<std::int64_t>(1, between(1, 3)), "accepted");
  EXPECT_EQ(out_of_range<std::int64_t>(3, between(1, 3)), "accepted");
  EXPECT_EQ(out_of_range<std::int64_t>(4, between(1, 3)), "'4' is out of range: it must be from 1 to 3");
  EXPECT_EQ(out_of_range<std::int64_t>(0, at_least(1)), "'0' is out of range: it must be at least 1");
  EXPECT_EQ(out_of_range(0.0, positive()), "'0' is out of range: it must be above 0");
  EXPECT_EQ(out_of_range(1e-300, positive()), "accepted");
  EXPECT_EQ(out_of_range(0.0, from_zero_below_one()), "accepted");
  EXPECT_EQ(out_of_range(1.0, from_zero_below_one()),
            "'1' is out of range: it must be at least 0 and below 1");
}

TEST(ConfigValue, NearestFindsSlipsAndNothingElse) {
  const std::vector<std::string> names{"num-layers", "num-heads", "hidden-size", "seed", "top-k"};
  EXPECT_EQ(nearest("num-layer", names), "num-layers");
  EXPECT_EQ(nearest("num_layers", names), "num-layers");
  EXPECT_EQ(nearest("nmu-heads", names), "num-heads");
  EXPECT_EQ(nearest("sede", names), "seed");  // two letters swapped are one slip
  EXPECT_EQ(nearest("HIDDEN-SIZE", names), "hidden-size");
  EXPECT_EQ(nearest("layers", names), "num-layers");  // part of one name only
  EXPECT_EQ(nearest("num", names), "");               // part of two
  EXPECT_EQ(nearest("temperature", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest(std::string(100000, 'a'), names), "");
}

TEST(ConfigValue, EscapedTextHasNothingAFileWouldLose) {
  EXPECT_EQ(escape("plain text: a=b; 'c' \"d\""), "plain text: a=b; 'c' \"d\"");
  EXPECT_EQ(escape(" two\nlines #1\\ "), "\\x20two\\nlines \\x231\\\\\\x20");
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    std::string text(random() % 20, '\0');
    for (char& c : text) c = random() % 2 ? static_cast<char>(random()) : " #\\\nx2"[random() % 6];
    const std::string escaped = escape(text);
    EXPECT_EQ(escaped.find_first_of("#\n\r\t"), std::string::npos);
    EXPECT_FALSE(escaped.starts_with(' ') || escaped.ends_with(' '));
    EXPECT_EQ(unescape(escaped), text);
  }
}

TEST(ConfigValue, LoneBackslashesAreRefused) {
  for (const char* text : {"a\\", "\\q", "\\x", "\\x2", "\\xg0", "\\x-1"}) {
    try {
      unescape(text);
      ADD_FAILURE() << text;
    } catch (const BadValue& error) {
      EXPECT_EQ(
          std::string(error.what()),
          fmt::format("'{}' has a lone backslash: write \\\\ for one (\\n, \\t, \\r and \\xHH are known)",
                      text));
    }
  }
}

}  // namespace
}  // namespace heddle
