#include "parallel/thread_binding.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <cstdlib>

#include "parallel/affinity.h"

namespace heddle {

namespace {

std::vector<int> cores_of(const cpu_set_t& mask) {
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &mask)) cores.push_back(core);
  return cores;
}

std::vector<int>& stored_cores() {
  static std::vector<int> cores;  // empty: not told
  return cores;
}

void run_on(const int* begin, const int* end) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int* core = begin; core != end; ++core) CPU_SET(*core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

}  // namespace

std::vector<int> share_of_cores(const std::vector<cpu_set_t>& masks, int local_rank) {
  const cpu_set_t& mine = masks[static_cast<std::size_t>(local_rank)];
  int sharers = 0, place = 0;
  for (int rank = 0; rank < static_cast<int>(masks.size()); ++rank) {
    if (!CPU_EQUAL(&masks[static_cast<std::size_t>(rank)], &mine)) continue;
    if (rank < local_rank) ++place;
    ++sharers;
  }
  const std::vector<int> cores = cores_of(mine);
  const int count = static_cast<int>(cores.size());
  if (count == 0) return {};
  if (count < sharers) return {cores[static_cast<std::size_t>(place % count)]};
  return {cores.begin() + count * place / sharers, cores.begin() + count * (place + 1) / sharers};
}

void set_rank_cores(std::vector<int> cores) {
  stored_cores() = std::move(cores);
}

const std::vector<int>& rank_cores() {
  static const std::vector<int> all = process_core_list();
  return stored_cores().empty() ? all : stored_cores();
}

int threads_per_rank(int local_size) {
  const int cores = static_cast<int>(rank_cores().size());
  return std::max(1, stored_cores().empty() ? cores / std::max(1, local_size) : cores);
}

bool bind_threads(int local_rank, int local_size, int threads) {
  const std::vector<int> all = process_core_list();
  std::vector<int> mine = rank_cores();
  if (stored_cores().empty())
    mine = share_of_cores(std::vector<cpu_set_t>(static_cast<std::size_t>(local_size), process_cores()),
                          local_rank);
  if (std::getenv("OMP_PROC_BIND") || std::getenv("OMP_PLACES")) return false;
  const bool filled = static_cast<int>(mine.size()) == threads &&
                      mine.size() * static_cast<std::size_t>(local_size) >= all.size();
  if (!filled) return false;
  run_on(mine.data(), mine.data() + mine.size());
#pragma omp parallel num_threads(threads)
  {
    const int thread = omp_get_thread_num();
    if (thread > 0)
      run_on(&mine[static_cast<std::size_t>(thread)], &mine[static_cast<std::size_t>(thread)] + 1);
  }
  return true;
}

}  // namespace heddle
