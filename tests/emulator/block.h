// The machine that runs one block: its threads, in which order they run, where they wait for each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/emulator/async_copies.h"
#include "tests/emulator/device.h"
#include "tests/emulator/fiber.h"
#include "tests/emulator/grid.h"
#include "tests/emulator/random.h"
#include "tests/emulator/shared_memory.h"

namespace heddle::emulator {

constexpr unsigned kLanes = 32;
constexpr unsigned kMaxWarps = kMaxThreadsPerBlock / kLanes;

struct LaunchedGrid {
  const char* kernel_name;
  dim3 grid, block;
  std::size_t shared_bytes;
  const std::function<void()>* thread_body;
};

class Block {
 public:
  Block();

  // Runs block `index` of the grid. Throws Fault.
  void run(const LaunchedGrid& grid, uint3 index, Random& random);

  // --- for the running thread ---

  // In a warp function: null once the last of the warp's lanes has come and has called dismiss(). For that
  // last one: what the 32 lanes have brought.
  void* const* meet(const char* operation, void* slot, const Where& where);
  // Lets the warp's lanes go on, in a new order.
  void dismiss();

  // What all threads at a barrier have told each other.
  struct Votes {
    unsigned yes = 0, threads = 0;
  };
  Votes barrier(const char* operation, bool vote, const Where& where);

  AsyncCopies& copies() { return running_->copies; }
  SharedMemory& shared() { return shared_; }
  Random& random() { return *random_; }
  // Throws a Fault that names the kernel and the block.
  [[noreturn]] void fault(const std::string& what) const;
  // The same for the running thread in `operation`.
  [[noreturn]] void fault_in(const char* operation, const Where& where, const std::string& what) const;

 private:
  struct Thread {
    unsigned number = 0;     // in its block
    uint3 index{};           // threadIdx
    Fiber* fiber = nullptr;  // while it waits
    AsyncCopies copies;
  };

  struct Warp {
    std::uint32_t runnable = 0;  // bit l: lane l has not started, or need not wait any more
    std::uint32_t returned = 0;
    std::uint32_t meeting = 0;  // waits in `operation`
    std::uint32_t at_barrier = 0;
    const char* operation = nullptr;
    Where where;
    std::array<void*, kLanes> slots{};
    // Lanes run in this order, each once, until the next rendezvous draws a new one.
    std::uint32_t first_lane = 0, lane_stride = 1, position = kLanes;

    void reorder(Random& random);
    std::optional<unsigned> next_lane();
  };

  const Warp& warp() const { return warps_[running_->number / kLanes]; }
  Warp& warp() { return warps_[running_->number / kLanes]; }
  std::uint32_t lane_bit() const { return 1u << running_->number % kLanes; }

  void start_block(const LaunchedGrid& grid, uint3 index, Random& random);
  void reorder_warps();
  void postpone_warp();
  Thread* next_thread();
  void set_running(Thread& thread);
  void pause();  // runs others until the running thread is runnable again and its turn has come
  static void carry();
  void carry_threads();
  void run_thread();
  void leave();
  void release_barrier_if_complete();
  void abandon_waiting_threads();

  // The running thread has come to `operation`, or has returned if that is null, where others wait elsewhere.
  [[noreturn]] void fault_cannot_meet(const char* operation, const Where& where) const;
  [[noreturn]] void fault_unwaited_copies() const;
  std::string name_running_lane() const;
  std::string describe_threads() const;

  const LaunchedGrid* grid_ = nullptr;
  uint3 index_{};
  Random* random_ = nullptr;
  SharedMemory shared_;

  std::vector<Thread> threads_;
  std::array<Warp, kMaxWarps> warps_;
  unsigned num_threads_ = 0, num_warps_ = 0;
  dim3 block_shape_{0, 0, 0};                     // whose thread indices `threads_` has
  std::array<unsigned, kMaxWarps> warp_order_{};  // in which the block's warps run until the next barrier
  unsigned warp_position_ = 0;
  bool interleaved_ = false;  // until the next barrier, warps take turns between their warp functions

  // The barrier: who has come, and what the last one that was complete gave.
  unsigned returned_ = 0;
  Votes arrived_, result_;
  const char* barrier_operation_ = nullptr;
  Where barrier_where_;

  Thread* running_ = nullptr;
  Fiber host_;              // who called run()
  Fiber* fiber_ = nullptr;  // what runs now
  FiberPool fibers_;
  std::exception_ptr failure_;
};

// The block that this OS thread runs; null outside of kernels.
extern constinit thread_local Block* current_block;

}  // namespace heddle::emulator
