// What functions of the device need from the emulator: the running thread's rendezvous with others, its
// shared memory and its copies. Every function that can wait takes the place in the source that called it:
// messages name it, and threads that meet must have come from the same place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>

#include "tests/emulator/include/vector_types.h"

// The built-in variables, set whenever a thread goes on.
extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;

namespace heddle::emulator {

using Where = std::source_location;

// A rendezvous of the warp's 32 lanes. Returns null when all have come and the last of them has called
// dismiss_lanes(); that last one gets all lanes' slots, completes the operation, and dismisses. A slot may
// lie on the lane's stack. Throws Fault when the lanes cannot meet.
void* const* meet_lanes(const char* operation, void* slot, const Where& where);
void dismiss_lanes();

// `complete` is called once, with a pointer to each lane's slot.
template <typename Slot, typename Complete>
void warp_operation(const char* operation, Slot& slot, const Where& where, Complete complete) {
  if (void* const* lanes = meet_lanes(operation, &slot, where)) {
    Slot* slots[32];
    for (int lane = 0; lane < 32; ++lane) slots[lane] = static_cast<Slot*>(lanes[lane]);
    complete(slots);
    dismiss_lanes();
  }
}

// Throws Fault unless the mask names all lanes.
void check_full_mask(const char* operation, unsigned mask, const Where& where);

struct BarrierVotes {
  unsigned yes, threads;
};
BarrierVotes block_barrier(const char* operation, bool vote, const Where& where);

// The block's shared memory, for a type of this size and alignment.
void* shared_memory_for(std::size_t size, std::size_t alignment, const Where& where);
// Throws Fault unless the bytes lie in shared memory, aligned to `alignment`.
void check_shared(const char* operation, const void* address, std::size_t bytes, std::size_t alignment,
                  const Where& where);

void issue_copy(const char* operation, void* shared, const void* global, std::size_t size, int bytes,
                const Where& where);
void commit_copy_group();
void wait_copy_groups(unsigned pending);

}  // namespace heddle::emulator
