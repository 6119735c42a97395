#include "trainer/format.h"

#include <fmt/format.h>

#include <cmath>

namespace heddle {

namespace {

// Three significant digits.
std::string three_digits(double value) {
  const double magnitude = std::abs(value);
  return magnitude >= 99.95 ? fmt::format("{:.0f}", value)
         : magnitude >= 9.995 ? fmt::format("{:.1f}", value)
                              : fmt::format("{:.2f}", value);
}

}  // namespace

std::string with_commas(std::int64_t value) {
  std::string digits = fmt::format("{}", value < 0 ? -value : value);
  for (std::ptrdiff_t i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), ",");
  return (value < 0 ? "-" : "") + digits;
}

std::string as_bytes(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < std::size(units); ++unit) bytes /= 1024;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : three_digits(bytes) + " " + units[unit];
}

std::string with_si_prefix(double value) {
  const char* const prefixes[] = {"", " k", " M", " G", " T", " P", " E", " Z", " Y"};
  std::size_t prefix = 0;
  for (; std::abs(value) >= 999.5 && prefix + 1 < std::size(prefixes); ++prefix) value /= 1000;
  return three_digits(value) + prefixes[prefix];
}

std::string as_duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
  return fmt::format("{} d {} h", whole / 86400, whole / 3600 % 24);
}

}  // namespace heddle
