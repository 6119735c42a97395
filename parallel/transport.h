// Transport: how the bytes of a group's collectives move between host memories. Each function blocks until
// this rank's part is done; one thread at a time calls it; all ranks call the same functions in the same
// order.
//
// Two of them give the same bits: SharedMemoryTransport for ranks of one host, MessageTransport (MPI) for
// all.
#pragma once

#include <cstdint>
#include <memory>

#include "parallel/collective.h"
#include "parallel/patience.h"

namespace heddle {

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const char* description() const = 0;  // "shared memory", "MPI messages"

  // call.count is the number of elements of the larger buffer. Aliasing is allowed as in communicator.h.
  // Errors of the transport, and calls that differ between ranks where that is noticed, throw Error.
  virtual void all_reduce(const CollectiveCall& call, void* x, const Patience& patience) = 0;
  virtual void all_gather(const CollectiveCall& call, const void* in, void* out,
                          const Patience& patience) = 0;
  virtual void reduce_scatter(const CollectiveCall& call, const void* in, void* out,
                              const Patience& patience) = 0;
  virtual void broadcast(const CollectiveCall& call, void* x, const Patience& patience) = 0;
  virtual void barrier(const CollectiveCall& call, const Patience& patience) = 0;
};

}  // namespace heddle
