// How the ranks of a communicator find each other, from the id alone.
//
// An id names the process that made it and a number. Every rank sends that process, over MPI_COMM_WORLD, who
// it is; when all have, each gets the list of all, and they make an MPI communicator of their own. The
// process that made the id need not be one of them: a thread of it answers. The same thread runs queued work
// while operations of NCCL are pending and the host is busy elsewhere, for other ranks may wait for it. It
// ends when MPI_Finalize() begins.
#pragma once

#include <nccl.h>

#include "tests/emulator/nccl/communicator.h"

namespace heddle::emulator {

ncclUniqueId make_unique_id();

// Blocks until all ranks have come, or `communicator.aborted`. Sets communicator.mpi; returns why not
// otherwise, and what is wrong in *text.
ncclResult_t connect(Communicator& communicator, const ncclUniqueId& id, std::string* text);

// The thread, at least from now on.
void start_background();
// The emulated GPU has, or no longer has, this many operations in its streams.
void count_pending(int change);

}  // namespace heddle::emulator
