// An NCCL communicator as the emulator keeps it.
#pragma once

#include <mpi.h>
#include <nccl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

namespace heddle::emulator {

// Fields without another comment belong to the scheduler's lock.
struct Communicator {
  int rank = 0, size = 1, device = 0;  // fixed
  MPI_Comm mpi = MPI_COMM_NULL;        // fixed when connected; none for a single rank

  std::atomic<bool> connected = false;
  std::atomic<bool> aborted = false;
  bool destroyed = false;
  ncclResult_t error = ncclSuccess;  // the asynchronous one
  std::string last_error;
  int pending = 0;               // operations that streams hold
  const void* active = nullptr;  // the work whose operations are under way

  void fail(ncclResult_t status, const std::string& text) {
    error = status;
    last_error = text;
  }
};

}  // namespace heddle::emulator

// The handle. Queued work and graphs share what it points to.
struct ncclComm {
  std::shared_ptr<heddle::emulator::Communicator> state;
  std::thread connecting;  // of a communicator that is not blocking
  std::string text;        // what ncclGetLastError() has returned
};
