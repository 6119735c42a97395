// What the ranks tell each other when something is stuck. Plain data, sent as bytes between equal binaries.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/collective.h"

namespace heddle {

// The ranks of a mesh group: first, first + stride, ... in numbers of the world.
struct RankRange {
  std::int32_t first = 0;
  std::int32_t stride = 1;
  std::int32_t size = 1;

  std::int32_t operator[](int i) const { return first + i * stride; }
  bool operator==(const RankRange&) const = default;
};

// Where a rank is, as it told with MpiSession::set_progress().
struct Progress {
  static constexpr int kActivityBytes = 48;
  std::int64_t step = -1;  // -1: no step has begun
  char activity[kActivityBytes] = {};

  Progress() = default;
  Progress(std::int64_t step, const char* activity);
  bool operator==(const Progress& other) const;
  std::string to_string() const;  // step 12 "forward"
};

// A rank's last collective in one of its groups.
struct GroupState {
  static constexpr int kNameBytes = 16;
  char name[kNameBytes] = {};
  std::int32_t number = 0;  // groups in the order in which they were made, the same on all ranks
  RankRange ranks;
  std::int64_t calls = 0;     // calls begun so far
  std::int32_t active = 0;    // the last of them is not finished
  double waited_seconds = 0;  // since it began
  CollectiveCall call;

  bool same_group(const GroupState& other) const;
  std::string to_string() const;  // all_reduce "gradients 3/7" of group data
};

struct RankState {
  static constexpr int kMaxGroups = 16;  // on GPUs each group of the mesh is two: GPU's and host's collectives
  std::int32_t rank = 0;
  Progress progress;
  Progress neighbour;  // the last heartbeat of the rank before this one
  std::int32_t group_count = 0;
  GroupState groups[kMaxGroups];
};

}  // namespace heddle
