// Sorting small integers on the device, equal ones in the order in which they were given.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace heddle::cuda {

// Keys and what belongs to each.
struct KeyedValues {
  std::uint32_t* keys = nullptr;
  std::int32_t* values = nullptr;
};

// Work space of stable_sort(), 4-byte aligned, for `count` pairs.
std::size_t stable_sort_bytes(std::int64_t count);

// Sorts `count` pairs by the lowest `key_bits` bits of their keys, on which alone they may differ, and
// returns the arrays that then hold them: `pairs` or `other`, the contents of the other of which are lost.
// Radix sort, least significant digit first; queued on the stream, no result depends on how its blocks are
// scheduled.
KeyedValues stable_sort(KeyedValues pairs, KeyedValues other, std::int64_t count, int key_bits, void* work,
                        cudaStream_t stream);

}  // namespace heddle::cuda
