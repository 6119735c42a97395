// A GoogleTest main for programs started by mpirun: every rank runs the same tests, failures of any rank are
// printed with its number and fail the program on all ranks.
#pragma once

#include <gtest/gtest.h>

#include "kernels/device.h"
#include "parallel/mpi_session.h"

namespace heddle::test {

// Started with a short timeout. Arguments of the program:
//   --messages   MPI messages instead of shared memory
//   --cuda       on GPUs, one per rank
//   --share-gpu  on one GPU, through host memory
MpiSession& session();
bool messages_only();
bool on_gpu();
bool shares_gpu();
std::unique_ptr<Device> make_test_device();

}  // namespace heddle::test
