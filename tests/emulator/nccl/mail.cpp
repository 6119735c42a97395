#include "tests/emulator/nccl/mail.h"

#include <fmt/format.h>

#include <climits>

#include "tests/emulator/grid.h"

namespace heddle::emulator {

namespace {

int checked(std::size_t bytes) {
  if (bytes > INT_MAX)
    throw Fault(fmt::format("the emulated NCCL sends at most 2 GiB at a time, not {} bytes", bytes));
  return static_cast<int>(bytes);
}

void check(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw Fault(fmt::format("the emulated NCCL: {}: {}", call, text));
}

}  // namespace

void Mail::send(int peer, int tag, const std::byte* data, std::size_t bytes) {
  MPI_Request request;
  check(MPI_Isend(data, checked(bytes), MPI_BYTE, peer, tag, comm_, &request), "MPI_Isend");
  requests_.push_back(request);
}

void Mail::receive(int peer, int tag, std::byte* data, std::size_t bytes) {
  MPI_Request request;
  check(MPI_Irecv(data, checked(bytes), MPI_BYTE, peer, tag, comm_, &request), "MPI_Irecv");
  requests_.push_back(request);
}

bool Mail::complete(bool* truncated) {
  *truncated = false;
  while (!requests_.empty()) {
    int done = 0;
    const int status = MPI_Test(&requests_.back(), &done, MPI_STATUS_IGNORE);
    int kind = MPI_SUCCESS;
    if (status != MPI_SUCCESS) MPI_Error_class(status, &kind);
    if (kind == MPI_ERR_TRUNCATE)
      *truncated = true;
    else
      check(status, "MPI_Test");
    if (!done && kind != MPI_ERR_TRUNCATE) return false;
    requests_.pop_back();
  }
  return true;
}

void Mail::abandon(std::unique_ptr<Mail> mail) {
  static auto* const kept = new std::vector<std::unique_ptr<Mail>>;
  if (mail && !mail->empty()) kept->push_back(std::move(mail));
}

}  // namespace heddle::emulator
