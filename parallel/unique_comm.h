// An MPI communicator that is freed with its owner.
#pragma once

#include <mpi.h>

#include <utility>

namespace heddle {

class UniqueComm {
 public:
  UniqueComm() = default;
  explicit UniqueComm(MPI_Comm comm) : comm_(comm) {}
  UniqueComm(UniqueComm&& other) noexcept : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}
  UniqueComm& operator=(UniqueComm&& other) noexcept {
    std::swap(comm_, other.comm_);
    return *this;
  }
  ~UniqueComm();

  // Collective over `parent`. The copies return errors instead of ending the job.
  static UniqueComm duplicate(MPI_Comm parent);
  static UniqueComm split(MPI_Comm parent, int color, int key);
  static UniqueComm split_by_host(MPI_Comm parent);

  MPI_Comm get() const { return comm_; }
  int rank() const;
  int size() const;

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

}  // namespace heddle
