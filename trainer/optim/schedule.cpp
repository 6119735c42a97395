#include "trainer/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "kernels/error.h"

namespace heddle {

double Schedule::rate(std::int64_t step) const {
  const double s = static_cast<double>(step), w = static_cast<double>(warmup);
  if (kind == Kind::noam) {
    const double n = s + 1, knee = std::max(w, 1.0);
    return peak / std::sqrt(static_cast<double>(hidden_size)) * std::min(1 / std::sqrt(n), n * std::pow(knee, -1.5));
  }
  if (step < warmup) return peak * (s + 1) / (w + 1);
  const auto falling = [&](double begin) {  // 0 at `begin`, 1 from `decay` on
    return std::clamp((s - begin) / std::max(static_cast<double>(decay) - begin, 1.0), 0.0, 1.0);
  };
  switch (kind) {
    case Kind::constant: return peak;
    case Kind::linear: return peak + (minimum - peak) * falling(w);
    case Kind::cosine: return minimum + (peak - minimum) * 0.5 * (1 + std::cos(std::numbers::pi * falling(w)));
    case Kind::inverse_sqrt: return peak * std::sqrt(std::max(w, 1.0) / std::max(s + 1, std::max(w, 1.0)));
    case Kind::wsd: return peak + (minimum - peak) * falling(static_cast<double>(std::max(decay - cooldown, warmup)));
    case Kind::noam: break;
  }
  return peak;
}

Schedule::Kind Schedule::parse(const std::string& name) {
  constexpr std::pair<const char*, Kind> kinds[] = {
      {"constant", Kind::constant},         {"linear", Kind::linear}, {"cosine", Kind::cosine},
      {"inverse_sqrt", Kind::inverse_sqrt}, {"noam", Kind::noam},     {"wsd", Kind::wsd}};
  for (const auto& [known, kind] : kinds)
    if (name == known) return kind;
  throw usage_error("optimizer.schedule = {}: use constant, linear, cosine, inverse_sqrt, noam or wsd", name);
}

}  // namespace heddle
