// The launcher's environment variables: Open MPI's mpirun, PMIx (srun --mpi=pmix), plain Slurm.
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "parallel/mpi_session.h"

namespace heddle {

namespace {

int first_number(std::initializer_list<const char*> names, int otherwise) {
  for (const char* name : names) {
    const char* text = std::getenv(name);
    if (!text) continue;
    int value = 0;
    const char* end = text + std::strlen(text);
    const auto [rest, problem] = std::from_chars(text, end, value);
    if (problem == std::errc() && rest == end && value >= 0) return value;
  }
  return otherwise;
}

}  // namespace

int environment_rank() {
  return first_number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}, 0);
}

int environment_size() {
  return first_number({"OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS"}, 1);
}

}  // namespace heddle
