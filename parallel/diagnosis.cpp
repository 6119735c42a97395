#include "parallel/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle {

namespace {

class Diagnosis {
 public:
  explicit Diagnosis(const Survey& survey) : survey_(survey) {}

  std::string follow(int me, const GroupState* waiting) {
    for (;;) {
      visited_.push_back(waiting);
      const std::string facts = headline(me, *waiting);
      if (const auto other = mismatch(*waiting)) return facts + describe_mismatch(me, *waiting, *other);
      const std::vector<int> missing = missing_ranks(*waiting);
      auto next = missing.empty() ? held_up_by(*waiting) : next_call(missing);
      if (missing.empty() && !next.second) return facts + describe_slow(*waiting);
      if (!next.second || was_visited(*next.second)) return facts + describe(missing);
      me = next.first;
      waiting = next.second;
    }
  }

 private:
  const RankState* state(int rank) const {
    const auto& found = survey_.states.at(static_cast<std::size_t>(rank));
    return found ? &*found : nullptr;
  }
  std::string name(int rank) const {
    return fmt::format("rank {} (host {})", rank, survey_.hosts.at(static_cast<std::size_t>(rank)));
  }

  // The same group as another rank sees it.
  const GroupState* find(int rank, const GroupState& group) const {
    const RankState* s = state(rank);
    if (!s) return nullptr;
    for (int i = 0; i < s->group_count; ++i)
      if (s->groups[i].same_group(group)) return &s->groups[i];
    return nullptr;
  }

  std::string headline(int me, const GroupState& waiting) const {
    const Progress& progress = state(me)->progress;
    const std::string step = progress.step >= 0 ? fmt::format("step {}, ", progress.step) : "";
    return fmt::format("no progress for {:.0f} s in {} ({}call {}): ", waiting.waited_seconds,
                       waiting.to_string(), step, waiting.calls);
  }

  // A rank whose call of the same number is another one.
  std::optional<int> mismatch(const GroupState& waiting) const {
    for (int i = 0; i < waiting.ranks.size; ++i) {
      const GroupState* other = find(waiting.ranks[i], waiting);
      if (other && other->calls == waiting.calls && !(other->call == waiting.call)) return waiting.ranks[i];
    }
    return std::nullopt;
  }

  std::string describe_mismatch(int me, const GroupState& waiting, int other) const {
    return fmt::format(
        "{} calls {} where {} calls {}: the ranks do not run the same program or configuration", name(other),
        find(other, waiting)->call.to_string(), name(me), waiting.call.to_string());
  }

  std::vector<int> missing_ranks(const GroupState& waiting) const {
    std::vector<int> missing;
    for (int i = 0; i < waiting.ranks.size; ++i) {
      const GroupState* other = find(waiting.ranks[i], waiting);
      if (!other || other->calls < waiting.calls) missing.push_back(waiting.ranks[i]);
    }
    return missing;
  }

  // If all missing ranks answer and wait in calls of their own: the first of them and its call. Else the
  // missing ranks that do not are the root, and there is no next call.
  std::pair<int, const GroupState*> next_call(const std::vector<int>& missing) const {
    std::pair<int, const GroupState*> next{0, nullptr};
    for (int rank : missing) {
      const GroupState* call = active_call(rank);
      if (!call) return {0, nullptr};
      if (!next.second) next = {rank, call};
    }
    return next;
  }

  // On a GPU a call counts from when it was queued, perhaps behind a call of another group. So when all ranks have
  // arrived: a rank of theirs that also waits in another group in which somebody is missing, and that call.
  std::pair<int, const GroupState*> held_up_by(const GroupState& waiting) const {
    for (int i = 0; i < waiting.ranks.size; ++i) {
      const RankState* s = state(waiting.ranks[i]);
      for (int g = 0; s && g < s->group_count; ++g) {
        const GroupState& other = s->groups[g];
        if (other.active && !was_visited(other) && !missing_ranks(other).empty()) return {waiting.ranks[i], &other};
      }
    }
    return {0, nullptr};
  }

  const GroupState* active_call(int rank) const {
    const RankState* s = state(rank);
    if (!s) return nullptr;
    for (int i = 0; i < s->group_count; ++i)
      if (s->groups[i].active) return &s->groups[i];
    return nullptr;
  }

  bool was_visited(const GroupState& group) const {
    return std::any_of(visited_.begin(), visited_.end(),
                       [&](const GroupState* v) { return v->same_group(group); });
  }

  std::string describe(const std::vector<int>& missing) const {
    constexpr std::size_t kNamed = 4;
    std::string text;
    for (std::size_t i = 0; i < std::min(missing.size(), kNamed); ++i)
      text += (i ? "; " : "") + describe(missing[i]);
    if (missing.size() > kNamed) text += fmt::format("; and {} more ranks", missing.size() - kNamed);
    return text;
  }

  std::string describe(int rank) const {
    const RankState* s = state(rank);
    if (!s) {
      std::string text = name(rank) + " does not answer";
      const RankState* neighbour = state((rank + 1) % static_cast<int>(survey_.states.size()));
      if (neighbour && !(neighbour->neighbour == Progress()))
        text += "; last seen in " + neighbour->neighbour.to_string();
      return text;
    }
    std::string text = name(rank) + " answers but has not arrived";
    if (!(s->progress == Progress())) text += ": it is in " + s->progress.to_string();
    if (const GroupState* call = active_call(rank)) text += ", waiting in " + call->to_string();
    return text;
  }

  std::string describe_slow(const GroupState& waiting) const {
    return fmt::format(
        "all {} ranks have arrived but the data does not; check the network between the hosts (heddle "
        "doctor) or "
        "raise the timeout",
        waiting.ranks.size);
  }

  const Survey& survey_;
  std::vector<const GroupState*> visited_;
};

}  // namespace

std::string diagnose(const Survey& survey, int me, int group) {
  return Diagnosis(survey).follow(me, &survey.states.at(static_cast<std::size_t>(me))->groups[group]);
}

}  // namespace heddle
