// A folder of checkpoints: which there are, which is the newest and the best, and how they come and go so
// that a crash at any moment leaves only whole ones to be seen.
//
//   step-00001000/           a checkpoint
//   step-00001100.tmp/       one being written or deleted; after a crash, a leftover
//   step-00001000.previous/  a checkpoint being replaced by another of the same step: counts only while
//                            step-00001000/ is not there
//   best.json                {"step": 1000, ...}: the checkpoint that retention never deletes
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace heddle {

struct CheckpointPath {
  std::int64_t step = 0;
  std::filesystem::path path;
};

// "step-00001000"
std::string checkpoint_name(std::int64_t step);
// The step in the name of a checkpoint directory ("step-00001000", also with ".previous"); nothing for other
// names.
std::optional<std::int64_t> step_of_name(const std::string& name);

// The checkpoints in `folder` by increasing step. Directories with a manifest count; its content is not
// looked at. A folder that does not exist has none.
std::vector<CheckpointPath> list_checkpoints(const std::filesystem::path& folder);
std::optional<CheckpointPath> newest_checkpoint(const std::filesystem::path& folder);

// Writes best.json atomically: {"step": step} and the members of `details` (the metric and its value).
void mark_best(const std::filesystem::path& folder, std::int64_t step, const nlohmann::json& details);
// The checkpoint that is marked; nothing if none is marked or it is gone. A best.json that cannot be read is
// an Error.
std::optional<CheckpointPath> best_checkpoint(const std::filesystem::path& folder);

// How many checkpoints stay after a save.
struct Retention {
  int keep = 3;  // the newest that many, the one just saved among them; 0: all
};

// The functions below change the folder; one process (rank 0) calls them.

// Ends what a crash interrupted: deletes leftovers, and puts back a checkpoint whose replacement was not
// finished. Returns a line for every leftover that could not be dealt with.
std::vector<std::string> clean_up(const std::filesystem::path& folder);
// Makes the complete, synced directory `temporary` the checkpoint of `step`. Durable when it returns.
void commit_checkpoint(const std::filesystem::path& folder, std::int64_t step,
                       const std::filesystem::path& temporary);
// Deletes what retention does not keep, never `just_saved` or the best. Returns a line for every failure.
std::vector<std::string> apply_retention(const std::filesystem::path& folder, std::int64_t just_saved,
                                         const Retention& retention);
// Deletes the checkpoints after `step`: when a run goes back to it, they belong to a history that did not
// happen, and the next automatic resume must not pick them.
std::vector<std::string> discard_newer_than(const std::filesystem::path& folder, std::int64_t step);

}  // namespace heddle
