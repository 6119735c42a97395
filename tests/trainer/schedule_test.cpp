#include "trainer/optim/schedule.h"

#include <gtest/gtest.h>

namespace heddle {
namespace {

Schedule schedule(ScheduleKind kind) {
  Schedule s;
  s.kind = kind;
  s.peak = 1.0;
  s.minimum = 0.1;
  s.warmup = 10;
  s.decay = 110;
  s.cooldown = 20;
  return s;
}

TEST(Schedule, WarmsUpLinearlyFromAboveZero) {
  const Schedule s = schedule(ScheduleKind::cosine);
  EXPECT_DOUBLE_EQ(s.rate(0), 1.0 / 11);
  EXPECT_DOUBLE_EQ(s.rate(9), 10.0 / 11);
  EXPECT_DOUBLE_EQ(s.rate(10), 1.0);
}

// nanoGPT's get_lr at its own settings: warm-up 100, decay 2000, 1e-3 to 1e-4.
TEST(Schedule, CosineOfNanoGpt) {
  Schedule s;
  s.peak = 1e-3, s.minimum = 1e-4, s.warmup = 100, s.decay = 2000;
  EXPECT_DOUBLE_EQ(s.rate(49), 1e-3 * 50 / 101);
  EXPECT_DOUBLE_EQ(s.rate(1050), 5.5e-4);
  EXPECT_DOUBLE_EQ(s.rate(2000), 1e-4);
  EXPECT_DOUBLE_EQ(s.rate(5000), 1e-4);
}

TEST(Schedule, LinearConstantAndInverseSquareRoot) {
  EXPECT_DOUBLE_EQ(schedule(ScheduleKind::linear).rate(60), 0.55);
  EXPECT_DOUBLE_EQ(schedule(ScheduleKind::constant).rate(100000), 1.0);
  EXPECT_DOUBLE_EQ(schedule(ScheduleKind::inverse_sqrt).rate(39), 0.5);
}

TEST(Schedule, StaysThenCoolsDown) {
  const Schedule s = schedule(ScheduleKind::wsd);
  EXPECT_DOUBLE_EQ(s.rate(50), 1.0);
  EXPECT_DOUBLE_EQ(s.rate(90), 1.0);
  EXPECT_DOUBLE_EQ(s.rate(100), 0.55);
  EXPECT_DOUBLE_EQ(s.rate(110), 0.1);
}

// Vaswani et al. 2017 at width 512 and warm-up 4000, in steps counted from 1.
TEST(Schedule, NoamOfTheBaseModel) {
  Schedule s;
  s.kind = ScheduleKind::noam, s.peak = 1, s.warmup = 4000, s.hidden_size = 512;
  EXPECT_NEAR(s.rate(0), 1.746928e-7, 1e-13);
  EXPECT_NEAR(s.rate(3999), 6.987712e-4, 1e-10);
  EXPECT_NEAR(s.rate(99999), 1.397542e-4, 1e-10);
}

}  // namespace
}  // namespace heddle
