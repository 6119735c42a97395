#include "tests/emulator/nccl/failure.h"

#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace heddle::emulator {

namespace {

struct Plan {
  long call = -1;  // of this rank
  Injected what = Injected::nothing;
};

Plan read_plan() {
  const char* text = std::getenv("HEDDLE_EMULATOR_NCCL_FAIL");
  if (!text || !*text) return {};
  int rank = 0, planned_rank = 0, length = 0, initialized = 0;
  Plan plan;
  if (std::sscanf(text, "%d:%ld%n", &planned_rank, &plan.call, &length) != 2 ||
      (text[length] != '\0' && std::strcmp(text + length, ":hang") != 0)) {
    std::fprintf(stderr, "emulator: HEDDLE_EMULATOR_NCCL_FAIL=%s is not RANK:CALL or RANK:CALL:hang\n", text);
    std::exit(2);
  }
  MPI_Initialized(&initialized);
  if (initialized) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == planned_rank) plan.what = text[length] ? Injected::hang : Injected::failure;
  return plan;
}

}  // namespace

Injected next_injected() {
  static const Plan plan = read_plan();
  static long calls = 0;  // under the scheduler's lock
  return calls++ == plan.call ? plan.what : Injected::nothing;
}

}  // namespace heddle::emulator
