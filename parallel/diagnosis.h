// Who is to blame when a collective does not end: reasoning over the ranks' states, without communication.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel/rank_state.h"

namespace heddle {

struct Survey {
  std::vector<std::optional<RankState>> states;  // by rank; nothing: it did not answer
  std::vector<std::string> hosts;                // by rank
};

// One line about the call in which rank `me` waits: the call, and which ranks keep it from ending and why.
// When those ranks themselves wait in another group's call, the line is about that call, and so on to the
// root. `group` indexes the groups of states[me], which must be there.
std::string diagnose(const Survey& survey, int me, int group);

}  // namespace heddle
