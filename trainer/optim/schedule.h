// Learning-rate schedules: the rate of a step as a pure function of the step, so that a resumed run needs no state.
#pragma once

#include <cstdint>

#include "trainer/config/options.h"

namespace heddle {

// All periods in steps. Step s counts from 0; the first update is step 0.
//   constant      after the warm-up, always `peak`
//   linear        from peak to `minimum` over `decay` steps
//   cosine        half a cosine from peak to minimum (Loshchilov & Hutter 2017, without restarts)
//   inverse_sqrt  peak * sqrt(warmup / s): falls with the root of the step
//   noam          peak * d^-0.5 min(s^-0.5, s warmup^-1.5), s from 1 (Vaswani et al. 2017, eq. 3)
//   wsd           warm-up, stable at peak, then linear to minimum over the last `cooldown` steps
struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  double peak = 0, minimum = 0;
  std::int64_t warmup = 0;    // linear from 0 (exclusive): step s < warmup has peak * (s + 1) / (warmup + 1)
  std::int64_t decay = 0;     // the step at which linear, cosine and wsd reach the minimum
  std::int64_t cooldown = 0;  // wsd
  std::int64_t hidden_size = 1;  // noam

  double rate(std::int64_t step) const;
};

}  // namespace heddle
