// heddle: runs a command and turns what it throws into one line and an exit code.
#include <cstdio>
#include <iostream>
#include <new>

#include "kernels/error.h"
#include "parallel/environment.h"
#include "parallel/mpi_session.h"
#include "trainer/commands/command.h"

namespace {

// Before MPI is started every rank makes the same mistake at the same place: one of them says so.
bool speaks() {
  return heddle::mpi_was_started() || heddle::environment_rank() == 0;
}

int fail(const char* message, int exit_code) {
  if (speaks()) std::fprintf(stderr, "heddle: %s\n", message);
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::ostream silent(nullptr);
    std::ostream& out = speaks() ? std::cout : silent;
    const int exit_code = heddle::run_command_line(heddle::all_commands(), argc, argv, out);
    if (speaks() && !std::cout.flush()) return fail("cannot write to standard output", heddle::kExitFailure);
    return exit_code;
  } catch (const heddle::Error& failure) {
    return fail(failure.what(), failure.exit_code());
  } catch (const std::bad_alloc&) {
    return fail("out of memory", heddle::kExitFailure);
  } catch (const std::exception& failure) {
    return fail(failure.what(), heddle::kExitFailure);
  }
}
