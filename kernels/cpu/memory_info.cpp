#include "kernels/cpu/memory_info.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace heddle {

namespace {

constexpr std::uint64_t kUnknown = std::numeric_limits<std::uint64_t>::max();

// The number after `key` in a file of "key value" lines.
std::optional<std::uint64_t> find_value(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    std::uint64_t value = 0;
    if (word == key && file >> value) return value;
    std::getline(file, word);
  }
  return std::nullopt;
}

// The only number of a file; nothing for "max" or a missing file.
std::optional<std::uint64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// Page cache of files counts as used but is given up on demand, so it is still available.
std::uint64_t left_in_group(const std::string& folder, const char* limit_file, const char* usage_file,
                            const char* cache_key) {
  const auto limit = read_number(folder + limit_file);
  const auto usage = read_number(folder + usage_file);
  if (!limit || !usage) return kUnknown;
  const std::uint64_t cache = find_value(folder + "memory.stat", cache_key).value_or(0);
  const std::uint64_t used = *usage - std::min(cache, *usage);
  return *limit - std::min(used, *limit);
}

// This process's control group below the mounted hierarchy: the line "0::/path" (v2) or "N:memory:/path"
// (v1).
std::string group_path(const std::string& controller) {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    if (line.substr(first + 1, second - first - 1) == controller) return line.substr(second + 1);
  }
  return "/";
}

}  // namespace

std::uint64_t available_memory() {
  std::uint64_t available = kUnknown;
  if (const auto kib = find_value("/proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  // Every ancestor's limit holds too; inside a container only the root of the mounted hierarchy is visible.
  for (std::string path = group_path("");; path = path.substr(0, path.rfind('/'))) {
    const std::string folder = "/sys/fs/cgroup" + (path == "/" ? "" : path) + "/";
    available = std::min(available, left_in_group(folder, "memory.max", "memory.current", "inactive_file"));
    if (path.empty() || path == "/") break;
  }
  for (const std::string& path : {group_path("memory"), std::string("")}) {
    available =
        std::min(available, left_in_group("/sys/fs/cgroup/memory" + path + "/", "memory.limit_in_bytes",
                                          "memory.usage_in_bytes", "total_inactive_file"));
  }
  return available;
}

std::uint64_t total_memory() {
  const auto kib = find_value("/proc/meminfo", "MemTotal:");
  return kib ? *kib * 1024 : kUnknown;
}

}  // namespace heddle
