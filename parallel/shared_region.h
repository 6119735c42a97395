// Memory that several processes of one host map.
#pragma once

#include <mpi.h>

#include <cstddef>

#include "kernels/device.h"

namespace heddle {

// `bytes` of zeroed memory mapped by all ranks of `comm`, which must share a host. Collective. When it cannot
// be had on every rank (a container with a small or private /dev/shm), all ranks get an empty Memory: use
// messages then.
//
// POSIX shared memory rather than MPI_Win_allocate_shared: the space is reserved up front, so a full /dev/shm
// is noticed here and not by SIGBUS in a training step; the name is gone as soon as all have mapped it, so
// nothing is left behind by a killed job; and releasing it is not collective, so it cannot hang.
Memory map_shared_region(MPI_Comm comm, std::size_t bytes);

}  // namespace heddle
