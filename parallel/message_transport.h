// Collectives by MPI messages, for groups on several hosts.
//
// MPI's own reductions may sum in any order; here a reduction is an exchange of shares, a local sum in rank
// order, and a gathering of the sums: as few bytes as a ring, half as many rounds as its latency, and the
// same bits everywhere. A sum of bf16 travels as bf16 and is rounded once. See bytes_sent() for the cost.
//
// Open MPI moves data mostly while it is called, so waits poll; how eagerly, Patience decides.
#pragma once

#include <mpi.h>

#include <vector>

#include "kernels/device.h"
#include "parallel/transport.h"
#include "parallel/unique_comm.h"

namespace heddle {

class MessageTransport final : public Transport {
 public:
  // `comm` is used by nobody else. Allocates about 8 MiB of scratch.
  explicit MessageTransport(UniqueComm comm);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* description() const override { return "MPI messages"; }

  void all_reduce(const CollectiveCall& call, void* x, const Patience& patience) override;
  void all_gather(const CollectiveCall& call, const void* in, void* out, const Patience& patience) override;
  void reduce_scatter(const CollectiveCall& call, const void* in, void* out,
                      const Patience& patience) override;
  void broadcast(const CollectiveCall& call, void* x, const Patience& patience) override;
  void barrier(const CollectiveCall& call, const Patience& patience) override;

 private:
  // Messages under way together.
  class Batch {
   public:
    void reserve(std::size_t messages) { requests_.reserve(messages); }
    void send(const void* data, std::size_t bytes, int to, int tag, MPI_Comm comm);
    void receive(void* data, std::size_t bytes, int from, int tag, MPI_Comm comm);
    void add(MPI_Request request) { requests_.push_back(request); }
    void wait(const Patience& patience, const CollectiveCall& call);

   private:
    std::vector<MPI_Request> requests_;
  };

  // Where rank p's share of the chunk [begin, begin + length) of an all_reduce starts, in elements.
  std::int64_t share_begin(std::int64_t begin, std::int64_t length, int p) const {
    return begin + length * p / size_;
  }
  int tag(const CollectiveCall& call, int phase) const;
  int peer(int i) const { return (rank_ + i) % size_; }
  char* scratch(int parity, int p) const;
  void all_reduce_directly(const CollectiveCall& call, char* x, const Patience& patience);
  void post_exchange(const CollectiveCall& call, const char* x, std::int64_t begin, std::int64_t length,
                     int parity);
  void post_gather(const CollectiveCall& call, char* x, std::int64_t begin, std::int64_t length);

  UniqueComm comm_;
  int rank_ = 0;
  int size_ = 1;
  int tag_bound_ = 32767;
  std::size_t share_bytes_;  // the longest message of a reduction
  Memory scratch_;           // two sets of one share from every rank
  Batch exchange_[2];
  Batch gather_;
  std::vector<const void*> sources_;
};

}  // namespace heddle
