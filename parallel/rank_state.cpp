#include "parallel/rank_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace heddle {

Progress::Progress(std::int64_t step, const char* activity) : step(step) {
  std::memcpy(this->activity, activity, std::min<std::size_t>(std::strlen(activity), kActivityBytes - 1));
}

bool Progress::operator==(const Progress& other) const {
  return step == other.step && std::strncmp(activity, other.activity, kActivityBytes) == 0;
}

std::string Progress::to_string() const {
  if (step < 0) return fmt::format("\"{}\"", activity);
  return activity[0] ? fmt::format("step {} \"{}\"", step, activity) : fmt::format("step {}", step);
}

bool GroupState::same_group(const GroupState& other) const {
  return number == other.number && ranks == other.ranks && std::strncmp(name, other.name, kNameBytes) == 0;
}

std::string GroupState::to_string() const {
  return fmt::format("{} \"{}\" of group {}", name_of(call.kind), call.label, name);
}

}  // namespace heddle
