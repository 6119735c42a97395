// MPI's return codes as exceptions. heddle sets MPI_ERRORS_RETURN on every communicator.
#pragma once

#include <mpi.h>

namespace heddle {

// Throws Error("<what>: <MPI's text>") unless `code` is MPI_SUCCESS.
void mpi_check(int code, const char* what);

}  // namespace heddle
