// A GoogleTest main for programs started by mpirun: every rank runs the same tests, failures of any rank are
// printed with its number and fail the program on all ranks.
#pragma once

#include <gtest/gtest.h>

#include "parallel/mpi_session.h"

namespace heddle::test {

// Started with a short timeout; with MPI messages instead of shared memory after the argument --messages.
MpiSession& session();
bool messages_only();

}  // namespace heddle::test
