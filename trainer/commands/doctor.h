// heddle doctor: is this cluster, and this way of starting, good for a run?
#pragma once

#include <cstdint>

#include "parallel/mpi_session.h"

namespace heddle {

struct DoctorOptions {
  int threads = 0;                                      // per rank; 0: as a run would take
  std::int64_t largest_bytes = std::int64_t{64} << 20;  // of the measured all_reduce
};

// Prints hosts, links, all_reduce times and findings on rank 0. kExitFailure on all ranks if a finding is a
// failure.
int run_doctor(const DoctorOptions& options, MpiSession& session);

}  // namespace heddle
