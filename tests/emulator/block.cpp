#include "tests/emulator/block.h"

#include <cstring>
#include <utility>

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{1, 1, 1};
constinit thread_local dim3 gridDim{1, 1, 1};

namespace heddle::emulator {

constinit thread_local Block* current_block = nullptr;

namespace {

bool same_text(const char* a, const char* b) {
  return a == b || std::strcmp(a, b) == 0;
}

// Whether two threads have called from the same place. Instances of a template are places of their own: what
// their lanes bring along has different types.
bool same_place(const Where& a, const Where& b) {
  return a.line() == b.line() && a.column() == b.column() && same_text(a.file_name(), b.file_name()) &&
         same_text(a.function_name(), b.function_name());
}

}  // namespace

void Block::Warp::reorder(Random& random) {
  const std::uint64_t bits = random.next();
  first_lane = bits >> 32 & (kLanes - 1);
  lane_stride = (bits >> 40 & (kLanes - 1)) | 1;
  position = 0;
}

std::optional<unsigned> Block::Warp::next_lane() {
  if (runnable == 0) return std::nullopt;
  while (position < kLanes) {
    const unsigned lane = (first_lane + position++ * lane_stride) % kLanes;
    if (runnable >> lane & 1) {
      runnable &= ~(1u << lane);
      return lane;
    }
  }
  return std::nullopt;
}

Block::Block() : threads_(kMaxThreadsPerBlock), fibers_(&Block::carry) {
  for (unsigned i = 0; i < kMaxThreadsPerBlock; ++i) threads_[i].number = i;
}

// --- one block from start to end ---

void Block::run(const LaunchedGrid& grid, uint3 index, Random& random) {
  start_block(grid, index, random);
  current_block = this;
  fiber_ = &fibers_.take();
  set_running(*next_thread());
  Fiber::switch_to(host_, *fiber_);
  current_block = nullptr;
  if (failure_) {
    abandon_waiting_threads();
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
  if (const std::string damage = shared_.damage(); !damage.empty()) fault(damage);
}

void Block::start_block(const LaunchedGrid& grid, uint3 index, Random& random) {
  if (block_shape_.x != grid.block.x || block_shape_.y != grid.block.y) {
    for (Thread& thread : threads_) {
      const unsigned row = thread.number / grid.block.x;
      thread.index = {thread.number % grid.block.x, row % grid.block.y, row / grid.block.y};
    }
    block_shape_ = grid.block;
  }
  grid_ = &grid;
  index_ = index;
  random_ = &random;
  num_threads_ = grid.block.x * grid.block.y * grid.block.z;
  num_warps_ = num_threads_ / kLanes;
  returned_ = 0;
  arrived_ = {};
  shared_.begin_block(grid.shared_bytes);
  for (unsigned w = 0; w < num_warps_; ++w) {
    Warp& warp = warps_[w];
    warp.runnable = ~0u;
    warp.returned = warp.meeting = warp.at_barrier = 0;
    warp.reorder(random);
  }
  reorder_warps();
  blockIdx = index;
  blockDim = grid.block;
  gridDim = grid.grid;
}

void Block::abandon_waiting_threads() {
  for (Thread& thread : threads_) {
    thread.copies.clear();
    if (thread.fiber == nullptr) continue;
    thread.fiber->reset();
    fibers_.give_back(*std::exchange(thread.fiber, nullptr));
  }
}

// --- which thread runs ---

void Block::reorder_warps() {
  constexpr unsigned kInterleavedOutOf = 4;
  interleaved_ = random_->below(kInterleavedOutOf) == 0;
  for (unsigned i = 0; i < num_warps_; ++i) {
    const auto j = static_cast<unsigned>(random_->below(i + 1));
    warp_order_[i] = warp_order_[j];
    warp_order_[j] = i;
  }
  warp_position_ = 0;
}

// Lets another of the warps that may go on do so before the running one, where there is one.
void Block::postpone_warp() {
  const unsigned others = num_warps_ - warp_position_ - 1;
  if (others == 0) return;
  const auto other = warp_position_ + 1 + static_cast<unsigned>(random_->below(others));
  std::swap(warp_order_[warp_position_], warp_order_[other]);
}

// One warp until none of its lanes can go on, then the next; null when no thread can.
Block::Thread* Block::next_thread() {
  for (; warp_position_ < num_warps_; ++warp_position_) {
    const unsigned w = warp_order_[warp_position_];
    if (const auto lane = warps_[w].next_lane()) return &threads_[w * kLanes + *lane];
  }
  return nullptr;
}

void Block::set_running(Thread& thread) {
  running_ = &thread;
  threadIdx = thread.index;
}

void Block::pause() {
  Thread& self = *running_;
  Thread* next = next_thread();
  if (next == &self) return;
  if (next == nullptr) fault("no thread can go on; " + describe_threads());
  self.fiber = fiber_;
  fiber_ = next->fiber != nullptr ? std::exchange(next->fiber, nullptr) : &fibers_.take();
  Fiber& own = *self.fiber;
  set_running(*next);
  Fiber::switch_to(own, *fiber_);
}

// Every fiber runs threads that have not started, one after another, until one of them waits and keeps the
// fiber; so threads that never wait cost no switch.
void Block::carry() {
  current_block->carry_threads();
}

void Block::carry_threads() {
  for (;;) {
    run_thread();
    Thread* next = failure_ ? nullptr : next_thread();
    if (next != nullptr && next->fiber == nullptr) {
      set_running(*next);
      continue;
    }
    Fiber& self = *fiber_;
    fibers_.give_back(self);
    if (next == nullptr) {
      Fiber::switch_to(self, host_);
    } else {
      fiber_ = std::exchange(next->fiber, nullptr);
      set_running(*next);
      Fiber::switch_to(self, *fiber_);
    }
  }
}

void Block::run_thread() {
  try {
    (*grid_->thread_body)();
    leave();
  } catch (...) {
    failure_ = std::current_exception();
  }
}

void Block::leave() {
  Warp& warp = this->warp();
  if (!running_->copies.waiting().empty()) fault_unwaited_copies();
  if (warp.meeting != 0) fault_cannot_meet(nullptr, {});
  warp.returned |= lane_bit();
  ++returned_;
  if (arrived_.threads > 0) release_barrier_if_complete();
}

// --- where threads wait ---

void* const* Block::meet(const char* operation, void* slot, const Where& where) {
  Warp& warp = this->warp();
  const std::uint32_t bit = lane_bit();
  running_->copies.pass(*random_);
  if ((warp.returned | warp.at_barrier) != 0 || (warp.meeting != 0 && !same_place(where, warp.where)))
    fault_cannot_meet(operation, where);
  warp.operation = operation;
  warp.where = where;
  warp.meeting |= bit;
  warp.slots[running_->number % kLanes] = slot;
  if (warp.meeting == ~0u) return warp.slots.data();
  pause();
  return nullptr;
}

void Block::dismiss() {
  Warp& warp = this->warp();
  warp.meeting = 0;
  warp.runnable = ~0u;
  warp.reorder(*random_);
  if (interleaved_ && random_->below(2) == 0) postpone_warp();
  pause();
}

Block::Votes Block::barrier(const char* operation, bool vote, const Where& where) {
  Warp& warp = this->warp();
  running_->copies.pass(*random_);
  if (warp.meeting != 0) fault_cannot_meet(operation, where);
  if (arrived_.threads > 0 && !same_place(where, barrier_where_)) fault_cannot_meet(operation, where);
  barrier_operation_ = operation;
  barrier_where_ = where;
  warp.at_barrier |= lane_bit();
  ++arrived_.threads;
  arrived_.yes += vote;
  release_barrier_if_complete();
  pause();
  return result_;
}

void Block::release_barrier_if_complete() {
  if (arrived_.threads + returned_ != num_threads_) return;
  result_ = std::exchange(arrived_, {});
  for (unsigned w = 0; w < num_warps_; ++w) {
    warps_[w].runnable |= std::exchange(warps_[w].at_barrier, 0u);
    warps_[w].reorder(*random_);
  }
  reorder_warps();
}

}  // namespace heddle::emulator
