#include "trainer/config/period.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <string_view>

#include "trainer/config/value.h"

namespace heddle {
namespace {

struct UnitName {
  std::string_view name;
  Period::Unit unit;
  double factor;
  bool printed;  // to_string uses it; the others are only read
};

// Within a unit the largest factor comes first, which is the order to_string tries them in.
constexpr std::array kUnitNames = {
    UnitName{"steps", Period::Unit::steps, 1, true},    UnitName{"step", Period::Unit::steps, 1, false},
    UnitName{"Gt", Period::Unit::tokens, 1e9, true},    UnitName{"Mt", Period::Unit::tokens, 1e6, true},
    UnitName{"kt", Period::Unit::tokens, 1e3, true},    UnitName{"t", Period::Unit::tokens, 1, true},
    UnitName{"tokens", Period::Unit::tokens, 1, false}, UnitName{"epochs", Period::Unit::epochs, 1, true},
    UnitName{"epoch", Period::Unit::epochs, 1, false},  UnitName{"h", Period::Unit::seconds, 3600, true},
    UnitName{"min", Period::Unit::seconds, 60, true},   UnitName{"s", Period::Unit::seconds, 1, true},
};

constexpr std::string_view kExpected = "write 100steps, 1Mt (million tokens), 2epochs or 10min";

// A count of steps reached through a division is whole up to rounding: 0.07 epochs of 100 steps are 7 steps,
// not 8.
constexpr double kRounding = 1e-12;

std::int64_t whole_periods(double progress, double period) {
  return static_cast<std::int64_t>(std::floor(progress / period * (1 + kRounding)));
}

}  // namespace

Period parse_period(const std::string& text) {
  if (text == "0") return {};
  const std::size_t unit_begin = text.find_first_not_of("0123456789.");
  if (unit_begin == 0 || text.empty())
    throw BadValue(fmt::format("'{}' is not a period: {}", text, kExpected));
  if (unit_begin == std::string::npos) throw BadValue(fmt::format("'{}' has no unit: {}", text, kExpected));

  double number = 0;
  try {
    parse_value(text.substr(0, unit_begin), number);
  } catch (const BadValue&) {
    throw BadValue(fmt::format("'{}' is not a period: {}", text, kExpected));
  }
  const std::string_view unit = std::string_view(text).substr(unit_begin);
  for (const UnitName& candidate : kUnitNames) {
    if (candidate.name != unit) continue;
    const Period period{number * candidate.factor, candidate.unit};
    const bool counted = period.unit == Period::Unit::steps || period.unit == Period::Unit::tokens;
    if (counted && period.value != std::floor(period.value)) {
      throw BadValue(fmt::format("'{}' is not a whole number of {}", text,
                                 period.unit == Period::Unit::steps ? "steps" : "tokens"));
    }
    if (period.value > 1e15) throw BadValue(fmt::format("'{}' is too long", text));
    return period;
  }
  throw BadValue(fmt::format("'{}' has an unknown unit '{}': {}", text, unit, kExpected));
}

std::string to_string(const Period& period) {
  if (period == Period{}) return "0";
  const UnitName* best = nullptr;
  for (const UnitName& candidate : kUnitNames) {
    if (candidate.unit != period.unit || !candidate.printed) continue;
    best = &candidate;  // the last one has factor 1
    if (std::fmod(period.value, candidate.factor) == 0 && period.value != 0) break;
  }
  return print_value(period.value / best->factor) + std::string(best->name);
}

std::int64_t Period::steps(const PeriodContext& context) const {
  double count = value;
  switch (unit) {
    case Unit::steps:
      break;
    case Unit::tokens:
      count = value / static_cast<double>(context.tokens_per_step);
      break;
    case Unit::epochs:
      count = value * context.steps_per_epoch;
      break;
    case Unit::seconds:
      throw std::logic_error("a time has no number of steps");
  }
  return static_cast<std::int64_t>(std::ceil(count * (1 - kRounding)));
}

PeriodTrigger::PeriodTrigger(Period period, const PeriodContext& context)
    : period_(period), context_(context) {}

bool PeriodTrigger::due(std::int64_t step, std::int64_t tokens, double seconds) {
  if (period_.is_zero()) return false;
  // Due at the step that completes a multiple of the period: the step before had completed fewer.
  switch (period_.unit) {
    case Period::Unit::steps:
      return step > 0 && step % static_cast<std::int64_t>(period_.value) == 0;
    case Period::Unit::tokens: {
      const auto every = static_cast<std::int64_t>(period_.value);
      return tokens / every > (tokens - context_.tokens_per_step) / every;
    }
    case Period::Unit::epochs: {
      const double every = period_.value * context_.steps_per_epoch;
      return step > 0 && whole_periods(static_cast<double>(step), every) >
                             whole_periods(static_cast<double>(step - 1), every);
    }
    case Period::Unit::seconds:
      if (seconds - last_seconds_ < period_.value) return false;
      last_seconds_ = seconds;
      return true;
  }
  return false;
}

}  // namespace heddle
