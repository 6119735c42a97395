// Which cores of its host a rank uses, and where its OpenMP threads run.
#pragma once

#include <sched.h>

#include <vector>

namespace heddle {

// The cores of rank `local_rank`, given the affinity masks of all ranks of the host: ranks with equal masks,
// as without binding, share the mask's cores in equal parts in rank order (one each in turn if there are too
// few); a mask of a rank's own is respected as it is.
std::vector<int> share_of_cores(const std::vector<cpu_set_t>& masks, int local_rank);

// MpiSession tells this process its share once; before, or without MPI, it is all allowed cores.
void set_rank_cores(std::vector<int> cores);
const std::vector<int>& rank_cores();

// The number of threads that fills this rank's share. local_size counts if no session has told the share.
int threads_per_rank(int local_size);

// Keeps this rank on its share and its OpenMP worker threads each on a core of their own, so that memory
// stays near the thread that touched it first. The calling thread may use the whole share, and so may threads
// it starts later. Does nothing, and returns false, when that could do harm: the threads of the ranks here do
// not fill the cores (another job may run on the rest, and would be pinned to the same first cores), there
// are more threads than cores, or the user has set OMP_PROC_BIND or OMP_PLACES.
bool bind_threads(int local_rank, int local_size, int threads);

}  // namespace heddle
