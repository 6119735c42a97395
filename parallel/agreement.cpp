#include "parallel/agreement.h"

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/error.h"

namespace heddle {

void agree(Communicator& world, const char* label, const std::function<void()>& action) {
  std::string outcome;  // empty: well; otherwise the exit code as one byte and the message
  const auto failed = [&](int exit_code, const char* message) {
    outcome = static_cast<char>(exit_code) + std::string(message);
  };
  try {
    action();
  } catch (const Error& failure) {
    failed(failure.exit_code(), failure.what());
  } catch (const std::exception& failure) {
    failed(kExitFailure, failure.what());
  }
  const std::vector<std::string> all = world.all_gather_host(outcome, label);
  const auto first = std::find_if(all.begin(), all.end(), [](const std::string& o) { return !o.empty(); });
  if (first == all.end()) return;
  const bool everywhere = std::all_of(all.begin(), all.end(), [&](const std::string& o) { return o == *first; });
  // What only rank 0 does, it does for all: its number would say nothing.
  const std::string rank =
      everywhere || first == all.begin() ? "" : fmt::format("rank {}: ", first - all.begin());
  throw Error(rank + first->substr(1), first->front(), /*on_all_ranks=*/true);
}

}  // namespace heddle
