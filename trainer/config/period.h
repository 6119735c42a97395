// Period: a length or an interval with its unit, as people write it: 100steps, 1.5Mt (million tokens),
// 2epochs, 10min.
#pragma once

#include <cstdint>
#include <string>

namespace heddle {

// What turns tokens and epochs into steps; both are constant over a run.
struct PeriodContext {
  std::int64_t tokens_per_step = 0;
  double steps_per_epoch = 0;  // samples of the data set / global batch; need not be whole
};

struct Period {
  enum class Unit : std::uint8_t { steps, tokens, epochs, seconds };

  double value = 0;  // in `unit`: "1.5Mt" is 1500000 tokens, "10min" 600 seconds
  Unit unit = Unit::steps;

  bool is_zero() const { return value == 0; }
  bool is_time() const { return unit == Unit::seconds; }

  // The smallest whole number of steps that covers the period. Not for times, whose number of steps nobody
  // knows: the option table refuses them where steps are needed.
  std::int64_t steps(const PeriodContext& context) const;

  bool operator==(const Period&) const = default;
};

constexpr Period in_steps(std::int64_t n) {
  return {static_cast<double>(n), Period::Unit::steps};
}
constexpr Period in_tokens(std::int64_t n) {
  return {static_cast<double>(n), Period::Unit::tokens};
}
constexpr Period in_epochs(double n) {
  return {n, Period::Unit::epochs};
}
constexpr Period in_seconds(double n) {
  return {n, Period::Unit::seconds};
}

// Units: steps, t kt Mt Gt (tokens), epochs, s min h; "step", "epoch", "tokens" also read. A bare 0 needs no
// unit. Throws BadValue (value.h).
Period parse_period(const std::string& text);

// The shortest text that parses to the same period: "1500kt", "2epochs", "10min", "0".
std::string to_string(const Period& period);

// "Every 250 steps", asked after each step.
//
// For steps, tokens and epochs the answer depends on the number of the step alone, so a resumed run saves and
// validates at exactly the steps at which the uninterrupted run would have. Times count from the start of the
// process, and ranks must act on one rank's answer. A period of 0 is never due.
class PeriodTrigger {
 public:
  PeriodTrigger(Period period, const PeriodContext& context);

  // step: optimizer steps finished (1 after the first); tokens: tokens trained on until then;
  // seconds: since the process started training.
  bool due(std::int64_t step, std::int64_t tokens, double seconds);

 private:
  Period period_;
  PeriodContext context_;
  double last_seconds_ = 0;
};

}  // namespace heddle
