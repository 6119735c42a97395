#include "trainer/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace heddle {

double Schedule::rate(std::int64_t step) const {
  const double s = static_cast<double>(step), w = static_cast<double>(warmup);
  if (kind == ScheduleKind::noam) {
    const double n = s + 1, knee = std::max(w, 1.0);
    return peak / std::sqrt(static_cast<double>(hidden_size)) * std::min(1 / std::sqrt(n), n * std::pow(knee, -1.5));
  }
  if (step < warmup) return peak * (s + 1) / (w + 1);
  const auto falling = [&](double begin) {  // 0 at `begin`, 1 from `decay` on
    return std::clamp((s - begin) / std::max(static_cast<double>(decay) - begin, 1.0), 0.0, 1.0);
  };
  switch (kind) {
    case ScheduleKind::constant: return peak;
    case ScheduleKind::linear: return peak + (minimum - peak) * falling(w);
    case ScheduleKind::cosine: return minimum + (peak - minimum) * 0.5 * (1 + std::cos(std::numbers::pi * falling(w)));
    case ScheduleKind::inverse_sqrt: return peak * std::sqrt(std::max(w, 1.0) / std::max(s + 1, std::max(w, 1.0)));
    case ScheduleKind::wsd: return peak + (minimum - peak) * falling(static_cast<double>(std::max(decay - cooldown, warmup)));
    case ScheduleKind::noam: break;
  }
  return peak;
}

}  // namespace heddle
