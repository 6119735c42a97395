#include "parallel/environment.h"

#include <mpi.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string_view>

#include "parallel/mpi_session.h"

namespace heddle {
namespace {

// The first of the variables that holds a whole number of at least `lowest`.
int first_number(std::initializer_list<const char*> variables, int lowest) {
  for (const char* variable : variables) {
    const char* text = std::getenv(variable);
    if (text == nullptr) continue;
    int number = 0;
    const char* end = text + std::strlen(text);
    const auto [stop, status] = std::from_chars(text, end, number);
    if (status == std::errc() && stop == end && number >= lowest) return number;
  }
  return lowest;
}

}  // namespace

// mpirun's own variables come first: inside a Slurm allocation Slurm's describe the shell that called mpirun.
int environment_rank() {
  return first_number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}, 0);
}

// Not SLURM_NTASKS, which an sbatch script also has: a command run there without srun is alone.
int environment_size() {
  return first_number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}, 1);
}

bool environment_first_of_host() {
  constexpr int kUnknown = -1;
  return first_number({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}, kUnknown) == 0;
}

bool mpi_was_started() {
  int started = 0;
  MPI_Initialized(&started);
  return started != 0;
}

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);  // one of the few calls allowed before MPI_Init
  // "Open MPI v4.1.4, package: ..." or "MPICH Version: 4.0 ..."
  std::string version(std::string_view(text, static_cast<std::size_t>(length)));
  version.resize(std::min(version.find_first_of(",\n"), version.size()));
  if (const std::size_t v = version.find(" v"); v != std::string::npos) version.erase(v + 1, 1);
  return version;
}

}  // namespace heddle
