// The emulator's entry for hosts: runs one kernel on the CPU, thread by thread.
//
// A block's threads are fibers of the calling OS thread; blocks run one after another. What CUDA leaves open
// is drawn from a seed: the order of the blocks, of the warps in a block and of the lanes in a warp, and when
// asynchronous copies arrive. One warp runs until all its lanes wait or have returned (so that a barrier left
// out lets a warp run far ahead), then another; between some barriers warps take turns at their warp
// functions instead (so that warps that use the same memory by mistake meet). The same seed and the same
// sequence of launches give the same order.
//
// A kernel that breaks CUDA's rules ends with a Fault:
//   - lanes of a warp that meet in different warp functions, or in one that the others never reach
//   - threads of a block at different barriers; a thread that has returned counts as arrived
//   - a mask that leaves lanes out; a shared address that is misaligned or outside of what the launch gave
//   - writes beside the block's shared memory, found when the block ends
//   - asynchronous copies that a thread does not wait for
// A kernel that uses values too early mostly computes NaN: shared memory is filled with NaN when a block
// starts, the destination of an asynchronous copy until the copy arrives. Not emulated: the weak memory model
// (a rendezvous orders everything), bank conflicts, threads that spin until another one writes, blocks that
// wait for each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "tests/emulator/include/vector_types.h"

namespace heddle::emulator {

// What a GPU of compute capability 8.0 to 9.0 accepts.
constexpr unsigned kMaxThreadsPerBlock = 1024;
constexpr unsigned kMaxGridYZ = 65535;
constexpr std::size_t kMaxSharedBytes = 227 << 10;
constexpr std::size_t kSharedAlignment = 1024;

// A kernel or launch that a GPU would refuse, hang on or compute nonsense with. Names kernel, block and
// lanes.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The seed of all later launches; it also restarts their count. Initially environment HEDDLE_EMULATOR_SEED,
// or 0.
void set_seed(std::uint64_t seed);
std::uint64_t seed();

// Calls `thread_body` once for every thread of the grid; inside, threadIdx, __syncthreads() and so on are
// that thread's. Returns when the whole grid is done. Throws Fault; what the kernel has written until then
// stays.
void run_grid(const char* kernel_name, dim3 grid, dim3 block, std::size_t shared_bytes,
              const std::function<void()>& thread_body);

// The name of a function given by its address, for messages: "scale<float>", or its address if nobody knows.
const char* kernel_name(const void* function);

}  // namespace heddle::emulator
