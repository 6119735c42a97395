// QueuedCalls: which collective of a group its GPU is at, known without asking CUDA.
//
// After each collective a kernel of one thread counts it in pinned host memory; the host keeps what was
// queued. So a thread beside the computation can tell which call is under way by reading memory, also for
// calls in a graph, and never waits behind the driver's locks when something hangs.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "kernels/cuda/device.h"
#include "parallel/collective.h"
#include "parallel/watchdog.h"

namespace heddle {

class QueuedCalls {
 public:
  explicit QueuedCalls(Device& device);

  // Makes it possible to queue so many calls at once, and as many again before they are finished. Allocates.
  void reserve(std::size_t calls);
  bool has_room(std::size_t calls) const;  // for so many more; else wait for the GPU first
  void add(const CollectiveCall* calls, std::size_t count);
  void count_finished_on(CudaStream& stream);  // what was queued on it so far includes one more call

  // Tells `group` which call is under way; true if there is one. Any thread.
  bool report(WatchedGroup& group) const;

 private:
  std::uint64_t finished() const;

  Memory device_count_;  // u64; the GPU's own
  Memory host_count_;    // u64, pinned: its copy, which the GPU writes
  mutable std::mutex mutex_;
  std::vector<CollectiveCall> ring_;  // call n, from 0, is at n modulo its size
  std::uint64_t queued_ = 0;
};

}  // namespace heddle
