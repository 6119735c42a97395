#include "parallel/affinity.h"

#include <pthread.h>

namespace heddle {

const cpu_set_t& process_cores() {
  static const cpu_set_t cores = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    return set;
  }();
  return cores;
}

std::vector<int> process_core_list() {
  std::vector<int> list;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &process_cores())) list.push_back(core);
  return list;
}

void use_process_cores() {
  if (CPU_COUNT(&process_cores()) > 0)
    pthread_setaffinity_np(pthread_self(), sizeof(cpu_set_t), &process_cores());
}

}  // namespace heddle
