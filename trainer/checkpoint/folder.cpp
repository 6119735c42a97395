#include "trainer/checkpoint/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <system_error>

#include "kernels/error.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/files.h"
#include "trainer/strict_json.h"

namespace heddle {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrevious = ".previous";
constexpr std::string_view kTemporary = ".tmp";
constexpr const char* kBestName = "best.json";
constexpr std::uint64_t kMaxBestBytes = 1 << 20;

// The step in "step-<digits><suffix>"; only the spelling of checkpoint_name() counts.
std::optional<std::int64_t> step_with_suffix(const std::string& name, std::string_view suffix) {
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix) || !name.ends_with(suffix)) return std::nullopt;
  const std::string stem = name.substr(0, name.size() - suffix.size());
  std::int64_t step = 0;
  const char *begin = stem.data() + std::min(kPrefix.size(), stem.size()), *end = stem.data() + stem.size();
  const auto [parsed, failure] = std::from_chars(begin, end, step);
  if (failure != std::errc() || parsed != end || step < 0 || checkpoint_name(step) != stem)
    return std::nullopt;
  return step;
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code reason;
  fs::directory_iterator next(folder, reason);
  for (; !reason && next != fs::directory_iterator(); next.increment(reason)) entries.push_back(next->path());
  if (reason && reason != std::errc::no_such_file_or_directory)
    throw error("cannot list {}: {}", folder.string(), reason.message());
  return entries;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

bool has_manifest(const fs::path& directory) {
  std::error_code ignored;
  return fs::is_regular_file(directory / kManifestName, ignored);
}

// Out of sight first: a deletion that is interrupted must not leave half a checkpoint under a valid name.
void delete_checkpoint(const fs::path& path) {
  const fs::path temporary = path.parent_path() / (checkpoint_name(*step_of_name(path.filename())) + ".tmp");
  remove_tree(temporary);
  rename_path(path, temporary);
  sync_directory(path.parent_path());
  remove_tree(temporary);
}

template <typename Action>
void try_to(std::vector<std::string>& failures, Action action) {
  try {
    action();
  } catch (const std::exception& reason) {
    failures.push_back(reason.what());
  }
}

}  // namespace

std::string checkpoint_name(std::int64_t step) {
  return fmt::format("step-{:08d}", step);
}

std::optional<std::int64_t> step_of_name(const std::string& name) {
  const std::optional<std::int64_t> step = step_with_suffix(name, "");
  return step ? step : step_with_suffix(name, kPrevious);
}

std::vector<CheckpointPath> list_checkpoints(const fs::path& folder) {
  std::map<std::int64_t, fs::path> found;
  for (const fs::path& path : entries_of(folder)) {
    const std::string name = path.filename();
    const std::optional<std::int64_t> step = step_of_name(name);
    if (!step || !has_manifest(path)) continue;
    if (name.ends_with(kPrevious))
      found.emplace(*step, path);
    else
      found[*step] = path;
  }
  std::vector<CheckpointPath> checkpoints;
  for (const auto& [step, path] : found) checkpoints.push_back({step, path});
  return checkpoints;
}

std::optional<CheckpointPath> newest_checkpoint(const fs::path& folder) {
  const std::vector<CheckpointPath> all = list_checkpoints(folder);
  return all.empty() ? std::nullopt : std::optional(all.back());
}

void mark_best(const fs::path& folder, std::int64_t step, const nlohmann::json& details) {
  nlohmann::json content = details;
  content["step"] = step;
  write_file_atomically(folder / kBestName, content.dump() + "\n");
}

std::optional<CheckpointPath> best_checkpoint(const fs::path& folder) {
  const fs::path path = folder / kBestName;
  if (!is_there(path)) return std::nullopt;
  const nlohmann::json content = parse_strict_json(read_small_file(path, kMaxBestBytes), path.string());
  const auto step = content.find("step");
  if (step == content.end() || !step->is_number_unsigned())
    throw error("{}: it names no step: delete it or mark a checkpoint again", path.string());
  for (const CheckpointPath& checkpoint : list_checkpoints(folder))
    if (static_cast<std::uint64_t>(checkpoint.step) == step->get<std::uint64_t>()) return checkpoint;
  return std::nullopt;
}

std::vector<std::string> clean_up(const fs::path& folder) {
  std::vector<std::string> failures;
  for (const fs::path& path : entries_of(folder)) {
    const std::string name = path.filename();
    if (step_with_suffix(name, kTemporary)) try_to(failures, [&] { remove_tree(path); });
    const std::optional<std::int64_t> replaced = step_with_suffix(name, kPrevious);
    if (!replaced) continue;
    const fs::path current = folder / checkpoint_name(*replaced);
    try_to(failures, [&] {
      if (is_there(current)) return delete_checkpoint(path);
      rename_path(path, current);
      sync_directory(folder);
    });
  }
  return failures;
}

void commit_checkpoint(const fs::path& folder, std::int64_t step, const fs::path& temporary) {
  const fs::path target = folder / checkpoint_name(step);
  const fs::path previous = target.string() + std::string(kPrevious);
  const bool replaces = is_there(target);
  if (replaces) rename_path(target, previous);
  try {
    rename_path(temporary, target);
  } catch (const std::exception&) {
    if (replaces) rename_path(previous, target);
    throw;
  }
  sync_directory(folder);
}

std::vector<std::string> apply_retention(const fs::path& folder, std::int64_t just_saved,
                                         const Retention& retention) {
  std::vector<std::string> failures;
  try_to(failures, [&] {
    failures = clean_up(folder);  // the checkpoint that was replaced, if any
    if (retention.keep <= 0) return;
    const std::optional<CheckpointPath> best = best_checkpoint(folder);
    std::vector<CheckpointPath> others = list_checkpoints(folder);
    std::erase_if(others, [&](const CheckpointPath& c) { return c.step == just_saved; });
    const std::size_t keep = static_cast<std::size_t>(retention.keep) - 1;
    for (std::size_t i = 0; i + keep < others.size(); ++i)
      if (!best || best->step != others[i].step) try_to(failures, [&] { delete_checkpoint(others[i].path); });
  });
  return failures;
}

std::vector<std::string> discard_newer_than(const fs::path& folder, std::int64_t step) {
  std::vector<std::string> failures;
  for (const CheckpointPath& checkpoint : list_checkpoints(folder))
    if (checkpoint.step > step) try_to(failures, [&] { delete_checkpoint(checkpoint.path); });
  return failures;
}

}  // namespace heddle
