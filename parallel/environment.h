// What can be known of MPI without a session: before it is started, or when nothing starts it.
// environment_rank and environment_size are declared in mpi_session.h.
#pragma once

#include <string>

namespace heddle {

// True from MPI_Init on, also after MPI_Finalize.
bool mpi_was_started();

// Whether the launcher's variables say that this is the first rank of its host; false if they do not say.
bool environment_first_of_host();

std::string mpi_library_version();  // "Open MPI 4.1.4"

}  // namespace heddle
