// heddle: runs a command and turns what it throws into one line and an exit code.
#include <cstdio>
#include <iostream>
#include <new>

#include "kernels/error.h"
#include "parallel/environment.h"
#include "parallel/mpi_session.h"
#include "trainer/commands/command.h"

namespace {

// Every rank makes the same mistake at the same place: one of them says so. Before MPI is started it is one
// on each host, because a file may be missing on one host only, and that rank is the only one to know.
int fail(const char* message, int exit_code, bool on_all_ranks) {
  const int rank = heddle::environment_rank();
  const bool speaks =
      rank == 0 || !on_all_ranks || (!heddle::mpi_was_started() && heddle::environment_first_of_host());
  if (speaks && rank == 0) std::fprintf(stderr, "heddle: %s\n", message);
  if (speaks && rank != 0) std::fprintf(stderr, "heddle: rank %d: %s\n", rank, message);
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::ostream silent(nullptr);
    std::ostream& out = heddle::environment_rank() == 0 ? std::cout : silent;
    const int exit_code = heddle::run_command_line(heddle::all_commands(), argc, argv, out);
    if (!std::cout.flush()) return fail("cannot write to standard output", heddle::kExitFailure, false);
    return exit_code;
  } catch (const heddle::Error& failure) {
    return fail(failure.what(), failure.exit_code(), failure.on_all_ranks() || !heddle::mpi_was_started());
  } catch (const std::bad_alloc&) {
    return fail("out of memory", heddle::kExitFailure, false);
  } catch (const std::exception& failure) {
    return fail(failure.what(), heddle::kExitFailure, false);
  }
}
