#include <gtest/gtest.h>

#include <vector>

#include "trainer/config/period.h"
#include "trainer/config/value.h"

namespace heddle {
namespace {

std::string bad(const std::string& text) {
  try {
    parse_period(text);
  } catch (const BadValue& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Period, ReadsEveryUnit) {
  EXPECT_EQ(parse_period("100steps"), in_steps(100));
  EXPECT_EQ(parse_period("1step"), in_steps(1));
  EXPECT_EQ(parse_period("0"), in_steps(0));
  EXPECT_EQ(parse_period("7t"), in_tokens(7));
  EXPECT_EQ(parse_period("7tokens"), in_tokens(7));
  EXPECT_EQ(parse_period("250kt"), in_tokens(250'000));
  EXPECT_EQ(parse_period("1.5Mt"), in_tokens(1'500'000));
  EXPECT_EQ(parse_period("10Gt"), in_tokens(10'000'000'000));
  EXPECT_EQ(parse_period("2epochs"), in_epochs(2));
  EXPECT_EQ(parse_period("0.5epoch"), in_epochs(0.5));
  EXPECT_EQ(parse_period("90s"), in_seconds(90));
  EXPECT_EQ(parse_period("10min"), in_seconds(600));
  EXPECT_EQ(parse_period("1.5h"), in_seconds(5400));
}

TEST(Period, RefusesTheRestInOneLine) {
  const std::string hint = ": write 100steps, 1Mt (million tokens), 2epochs or 10min";
  EXPECT_EQ(bad("100"), "'100' has no unit" + hint);
  EXPECT_EQ(bad(""), "'' is not a period" + hint);
  EXPECT_EQ(bad("steps"), "'steps' is not a period" + hint);
  EXPECT_EQ(bad("-1steps"), "'-1steps' is not a period" + hint);
  EXPECT_EQ(bad("1.2.3Mt"), "'1.2.3Mt' is not a period" + hint);
  EXPECT_EQ(bad("1MT"), "'1MT' has an unknown unit 'MT'" + hint);
  EXPECT_EQ(bad("1 h"), "'1 h' has an unknown unit ' h'" + hint);
  EXPECT_EQ(bad("1e3steps"), "'1e3steps' has an unknown unit 'e3steps'" + hint);
  EXPECT_EQ(bad("1.5steps"), "'1.5steps' is not a whole number of steps");
  EXPECT_EQ(bad("0.0005kt"), "'0.0005kt' is not a whole number of tokens");
  EXPECT_EQ(bad("9999999999999Gt"), "'9999999999999Gt' is too long");
}

TEST(Period, PrintsWhatItReads) {
  for (const char* text : {"0", "1steps", "100steps", "7t", "1500kt", "1Mt", "10Gt", "0.25epochs", "2epochs",
                           "90s", "10min", "36h", "0.5s"}) {
    EXPECT_EQ(to_string(parse_period(text)), text);
  }
  EXPECT_EQ(to_string(parse_period("1.5Mt")), "1500kt");
  EXPECT_EQ(to_string(parse_period("60min")), "1h");
  EXPECT_EQ(to_string(parse_period("0s")), "0s");
  for (const char* text : {"1.5Mt", "0s", "0.1epochs", "1.25h"})
    EXPECT_EQ(parse_period(to_string(parse_period(text))), parse_period(text));
}

TEST(Period, StepsCoverThePeriod) {
  const PeriodContext context{.tokens_per_step = 1000, .steps_per_epoch = 12.5};
  EXPECT_EQ(in_steps(17).steps(context), 17);
  EXPECT_EQ(in_tokens(3000).steps(context), 3);
  EXPECT_EQ(in_tokens(3001).steps(context), 4);
  EXPECT_EQ(in_tokens(1).steps(context), 1);
  EXPECT_EQ(in_epochs(1).steps(context), 13);
  EXPECT_EQ(in_epochs(2).steps(context), 25);
  EXPECT_EQ(Period{}.steps(context), 0);
  // 0.07 * 100 is 7.000000000000001 in floating point.
  EXPECT_EQ(in_epochs(0.07).steps({.tokens_per_step = 1, .steps_per_epoch = 100}), 7);
  EXPECT_THROW(in_seconds(1).steps(context), std::logic_error);
}

// The steps in (begin, end] at which a trigger that starts after `begin` is due.
std::vector<std::int64_t> due_steps(Period period, PeriodContext context, std::int64_t begin,
                                    std::int64_t end) {
  PeriodTrigger trigger(period, context);
  std::vector<std::int64_t> due;
  for (std::int64_t step = begin + 1; step <= end; ++step)
    if (trigger.due(step, step * context.tokens_per_step, 0)) due.push_back(step);
  return due;
}

TEST(PeriodTrigger, CountsFromTheFirstStep) {
  const PeriodContext context{.tokens_per_step = 1000, .steps_per_epoch = 12.5};
  using Steps = std::vector<std::int64_t>;
  EXPECT_EQ(due_steps(in_steps(4), context, 0, 13), (Steps{4, 8, 12}));
  EXPECT_EQ(due_steps(in_tokens(2500), context, 0, 10), (Steps{3, 5, 8, 10}));
  EXPECT_EQ(due_steps(in_tokens(10), context, 0, 3), (Steps{1, 2, 3}));
  EXPECT_EQ(due_steps(in_epochs(1), context, 0, 40), (Steps{13, 25, 38}));
  EXPECT_EQ(due_steps(in_epochs(0.07), {.tokens_per_step = 1, .steps_per_epoch = 100}, 0, 21),
            (Steps{7, 14, 21}));
  EXPECT_EQ(due_steps(Period{}, context, 0, 100), Steps{});
  EXPECT_EQ(due_steps(in_seconds(0), context, 0, 100), Steps{});
}

TEST(PeriodTrigger, IsDueAtTheSameStepsAfterResume) {
  const PeriodContext context{.tokens_per_step = 7 * 1024, .steps_per_epoch = 31.4};
  for (const Period& period : {in_steps(7), in_tokens(100'000), in_epochs(0.3), in_epochs(1)}) {
    const auto whole = due_steps(period, context, 0, 500);
    EXPECT_FALSE(whole.empty());
    for (std::int64_t resumed = 0; resumed <= 500; ++resumed) {
      auto parts = due_steps(period, context, 0, resumed);
      const auto rest = due_steps(period, context, resumed, 500);
      parts.insert(parts.end(), rest.begin(), rest.end());
      ASSERT_EQ(parts, whole) << to_string(period) << " resumed at " << resumed;
    }
  }
}

TEST(PeriodTrigger, TimesCountFromTheLastOne) {
  PeriodTrigger trigger(in_seconds(10), {});
  EXPECT_FALSE(trigger.due(1, 0, 9.9));
  EXPECT_TRUE(trigger.due(2, 0, 12));
  EXPECT_FALSE(trigger.due(3, 0, 21.9));
  EXPECT_TRUE(trigger.due(4, 0, 22));
}

}  // namespace
}  // namespace heddle
