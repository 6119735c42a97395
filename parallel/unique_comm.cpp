#include "parallel/unique_comm.h"

#include <exception>

#include "parallel/mpi_error.h"

namespace heddle {

namespace {

UniqueComm own(MPI_Comm comm) {
  UniqueComm owned(comm);
  mpi_check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return owned;
}

}  // namespace

UniqueComm::~UniqueComm() {
  if (comm_ == MPI_COMM_NULL) return;
  int finalized = 0;
  MPI_Finalized(&finalized);
  // Freeing is collective: when an exception leaves this rank alone, the others will not take part.
  if (!finalized && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
}

UniqueComm UniqueComm::duplicate(MPI_Comm parent) {
  MPI_Comm comm;
  mpi_check(MPI_Comm_dup(parent, &comm), "MPI_Comm_dup");
  return own(comm);
}

UniqueComm UniqueComm::split(MPI_Comm parent, int color, int key) {
  MPI_Comm comm;
  mpi_check(MPI_Comm_split(parent, color, key, &comm), "MPI_Comm_split");
  return own(comm);
}

UniqueComm UniqueComm::split_by_host(MPI_Comm parent) {
  int rank = 0;
  mpi_check(MPI_Comm_rank(parent, &rank), "MPI_Comm_rank");
  MPI_Comm comm;
  mpi_check(MPI_Comm_split_type(parent, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &comm),
            "MPI_Comm_split_type");
  return own(comm);
}

int UniqueComm::rank() const {
  int rank = 0;
  mpi_check(MPI_Comm_rank(comm_, &rank), "MPI_Comm_rank");
  return rank;
}

int UniqueComm::size() const {
  int size = 1;
  mpi_check(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
  return size;
}

}  // namespace heddle
