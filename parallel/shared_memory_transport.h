// Collectives among ranks of one host through memory that all of them map.
//
// Every rank owns two slots in the shared region. A collective is a sequence of steps; in step s a rank
// writes its contribution to its slot s % 2, announces s, waits until all ranks have announced s, and reads
// the others' slots. Two slots are enough: who has announced s + 1 has finished reading step s, and slot s %
// 2 is written again in step s + 2, after everybody's s + 1 was seen. So a step costs one synchronisation,
// and the copies of neighbouring steps overlap.
//
// Data passes in chunks that fit the slots.
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

#include "kernels/device.h"
#include "parallel/transport.h"

namespace heddle {

class SharedMemoryTransport final : public Transport {
 public:
  // Measured with two ranks: 1 MiB beats smaller slots, which ping-pong between the cores' caches, and larger
  // ones. Many ranks get smaller slots, to fit the 64 MiB of /dev/shm that a container has by default.
  static std::size_t slot_bytes(int ranks);
  // Bytes of zeroed memory, mapped by all ranks, that a group needs.
  static std::size_t region_bytes(int ranks);

  // `region` is this rank's mapping of the group's memory, page-aligned.
  SharedMemoryTransport(Memory region, int rank, int size);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* description() const override { return "shared memory"; }

  void all_reduce(const CollectiveCall& call, void* x, const Patience& patience) override;
  void all_gather(const CollectiveCall& call, const void* in, void* out, const Patience& patience) override;
  void reduce_scatter(const CollectiveCall& call, const void* in, void* out,
                      const Patience& patience) override;
  void broadcast(const CollectiveCall& call, void* x, const Patience& patience) override;
  void barrier(const CollectiveCall& call, const Patience& patience) override;

 private:
  struct Flags;

  Flags& flags(int rank) const;
  char* slot(int rank) const;  // of the current step
  // Announces the current step and waits for the others' announcements; afterwards slot(p) may be read until
  // the next announcement.
  void exchange(const Patience& patience);
  void wait_for(int rank, const Patience& patience) const;
  // The first step of every call also carries the call itself, so that a difference between ranks is noticed.
  void announce_call(const CollectiveCall& call);
  void compare_calls(const CollectiveCall& call) const;
  void all_reduce_directly(const CollectiveCall& call, char* x, const Patience& patience);
  void all_reduce_by_shares(const CollectiveCall& call, char* x, const Patience& patience);

  Memory region_;
  int rank_;
  int size_;
  std::size_t slot_bytes_;
  std::uint32_t step_ = 0;  // wraps; only differences count
  std::vector<const void*> sources_;
};

}  // namespace heddle
