// Messages under way between the ranks of a communicator: none of the calls blocks.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

namespace heddle::emulator {

class Mail {
 public:
  explicit Mail(MPI_Comm comm) : comm_(comm) {}

  // Memory that lives as long as the messages may.
  std::vector<std::byte>& buffer(std::size_t bytes) { return buffers_.emplace_back(bytes); }
  void send(int peer, int tag, const std::byte* data, std::size_t bytes);
  void receive(int peer, int tag, std::byte* data, std::size_t bytes);

  // Whether all messages are done. *truncated: one was longer than the memory for it.
  bool complete(bool* truncated);
  bool empty() const { return requests_.empty(); }

  // Forgets messages that are under way: their memory stays, for MPI may still use it.
  static void abandon(std::unique_ptr<Mail> mail);

 private:
  MPI_Comm comm_;
  std::deque<std::vector<std::byte>> buffers_;
  std::vector<MPI_Request> requests_;
};

}  // namespace heddle::emulator
