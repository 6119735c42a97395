#include "parallel/gpu_assignment.h"

#include <algorithm>
#include <cassert>
#include <map>
#include <utility>

#include "kernels/error.h"

namespace heddle {

namespace {

Error refusal(const std::string& message) {
  return Error(message, kExitUsage, /*on_all_ranks=*/true);
}

void require_gpus(const std::vector<VisibleGpus>& ranks) {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const VisibleGpus& seen = ranks[rank];
    const std::string who = ranks.size() == 1 ? "" : fmt::format("rank {} (host {}): ", rank, seen.host);
    if (!seen.problem.empty()) throw refusal(who + seen.problem);
    if (seen.ids.empty())
      throw refusal(who +
                    "device = cuda: no GPU is visible (nvidia-smi and CUDA_VISIBLE_DEVICES tell which are)");
  }
}

}  // namespace

// Strings end with a zero byte, which none of them contains.
std::string to_bytes(const VisibleGpus& gpus) {
  std::string bytes = gpus.host + '\0' + gpus.problem + '\0';
  for (const std::string& id : gpus.ids) bytes += id + '\0';
  return bytes;
}

VisibleGpus visible_gpus_from(const std::string& bytes) {
  std::vector<std::string> strings;
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = bytes.find('\0', begin);
    strings.push_back(bytes.substr(begin, end - begin));
    begin = end == std::string::npos ? bytes.size() : end + 1;
  }
  assert(strings.size() >= 2);
  return {strings[0], {strings.begin() + 2, strings.end()}, strings[1]};
}

std::vector<int> assign_gpus(const std::vector<VisibleGpus>& ranks, bool share) {
  require_gpus(ranks);
  std::map<std::pair<std::string, std::string>, int> users;  // of a host's GPU
  std::vector<int> chosen;
  for (const VisibleGpus& seen : ranks) {
    const auto users_of = [&](const std::string& id) -> int& { return users[{seen.host, id}]; };
    const auto best = std::min_element(seen.ids.begin(), seen.ids.end(), [&](const auto& a, const auto& b) {
      return users_of(a) < users_of(b);
    });
    ++users_of(*best);
    chosen.push_back(static_cast<int>(best - seen.ids.begin()));
  }
  if (share) return chosen;

  std::map<std::string, std::pair<int, int>> hosts;  // ranks and GPUs
  for (const VisibleGpus& seen : ranks) ++hosts[seen.host].first;
  for (const auto& [gpu, count] : users) ++hosts[gpu.first].second;
  for (const auto& [gpu, count] : users) {
    const auto& [rank_count, gpu_count] = hosts[gpu.first];
    if (count > 1)
      throw refusal(
          fmt::format("host {} has {} ranks but {} GPU{} for them to see: start at most one rank per GPU, or "
                      "let ranks share a GPU with --share-gpu (slow)",
                      gpu.first, rank_count, gpu_count, gpu_count == 1 ? "" : "s"));
  }
  return chosen;
}

}  // namespace heddle
