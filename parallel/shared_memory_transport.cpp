#include "parallel/shared_memory_transport.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <ctime>

#include "kernels/error.h"
#include "parallel/reduce.h"

namespace heddle {

// What one rank writes and the others read. Zeroed memory is the initial state.
struct SharedMemoryTransport::Flags {
  alignas(128) std::atomic<std::uint32_t> announced;  // the last step; a futex
  std::atomic<std::uint32_t> sleepers;                // ranks that sleep until `announced` changes
  alignas(64) CollectiveCall calls[2];  // valid in the first step of a call, by parity of the step
};

namespace {

constexpr std::size_t kPage = 4096;
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Not FUTEX_PRIVATE: the word is shared between processes. C++'s atomic wait only works within one.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  const timespec limit{0, 100'000'000};  // then look whether the wait was cancelled
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT, expected, &limit, nullptr, 0);
}

void futex_wake_all(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void copy(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, bytes);
}

}  // namespace

std::size_t SharedMemoryTransport::slot_bytes(int ranks) {
  constexpr std::size_t kSmallest = 256 << 10, kLargest = 1 << 20;
  return std::clamp(round_up((4 << 20) / static_cast<std::size_t>(ranks), kPage), kSmallest, kLargest);
}

std::size_t SharedMemoryTransport::region_bytes(int ranks) {
  const auto n = static_cast<std::size_t>(ranks);
  return round_up(n * sizeof(Flags), kPage) + n * 2 * slot_bytes(ranks);
}

SharedMemoryTransport::SharedMemoryTransport(Memory region, int rank, int size)
    : region_(std::move(region)),
      rank_(rank),
      size_(size),
      slot_bytes_(slot_bytes(size)),
      sources_(static_cast<std::size_t>(size)) {
  if (region_.bytes() < region_bytes(size)) throw error("the shared memory region is too small");
  // The rank that touches a page first has it on its memory node.
  for (step_ = 0; step_ < 2; ++step_) std::memset(slot(rank), 0, slot_bytes_);
  step_ = 1;  // 0 counts as announced: the region is zeroed
}

SharedMemoryTransport::Flags& SharedMemoryTransport::flags(int rank) const {
  return static_cast<Flags*>(region_.data())[rank];
}

char* SharedMemoryTransport::slot(int rank) const {
  const std::size_t first = round_up(static_cast<std::size_t>(size_) * sizeof(Flags), kPage);
  const std::size_t number = static_cast<std::size_t>(rank) * 2 + step_ % 2;
  return static_cast<char*>(region_.data()) + first + number * slot_bytes_;
}

// --- synchronisation ---

void SharedMemoryTransport::exchange(const Patience& patience) {
  Flags& mine = flags(rank_);
  // Sequentially consistent with wait_for(): either the sleeper sees the new value or we see the sleeper.
  mine.announced.store(step_, std::memory_order_seq_cst);
  if (mine.sleepers.load(std::memory_order_seq_cst) > 0) futex_wake_all(mine.announced);
  for (int i = 1; i < size_; ++i) wait_for((rank_ + i) % size_, patience);
}

void SharedMemoryTransport::wait_for(int rank, const Patience& patience) const {
  Flags& other = flags(rank);
  const auto arrived = [&](std::memory_order order) {
    return static_cast<std::int32_t>(other.announced.load(order) - step_) >= 0;
  };
  const int spins = 50;  // about 2 microseconds
  const int yields =
      patience.urgent() ? 200 : 0;  // the awaited rank may need our core; else as good as spinning
  for (int i = 0; i < spins; ++i) {
    if (arrived(std::memory_order_acquire)) return;
    pause_briefly();
  }
  for (int i = 0; i < yields; ++i) {
    if (arrived(std::memory_order_acquire)) return;
    sched_yield();
  }
  while (!arrived(std::memory_order_acquire)) {
    patience.check();
    other.sleepers.fetch_add(1, std::memory_order_seq_cst);
    const std::uint32_t seen = other.announced.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(seen - step_) < 0) futex_wait(other.announced, seen);
    other.sleepers.fetch_sub(1, std::memory_order_relaxed);
  }
}

void SharedMemoryTransport::announce_call(const CollectiveCall& call) {
  flags(rank_).calls[step_ % 2] = call;
}

void SharedMemoryTransport::compare_calls(const CollectiveCall& call) const {
  for (int p = 0; p < size_; ++p) {
    const CollectiveCall& other = flags(p).calls[step_ % 2];
    if (other == call) continue;
    throw error("ranks disagree about a collective: rank {} of the group calls {}, rank {} calls {}", rank_,
                call.to_string(), p, other.to_string());
  }
}

// --- collectives ---
//
// The loops run at least once, so that empty tensors and differing counts are synchronised and compared as
// well. Every iteration ends with ++step_, which makes the other slot current.

void SharedMemoryTransport::all_reduce(const CollectiveCall& call, void* x, const Patience& patience) {
  // Summing everything on every rank has one synchronisation per chunk instead of two, but size - 1 instead
  // of one read of each element: for two ranks that is the same, and for little data only latency counts.
  constexpr std::size_t kLatencyBound = 16 << 10;
  const std::size_t bytes = static_cast<std::size_t>(call.count) * size_of(call.element);
  if (size_ == 2 || bytes <= kLatencyBound) {
    all_reduce_directly(call, static_cast<char*>(x), patience);
  } else {
    all_reduce_by_shares(call, static_cast<char*>(x), patience);
  }
}

void SharedMemoryTransport::all_reduce_directly(const CollectiveCall& call, char* x,
                                                const Patience& patience) {
  const std::size_t width = size_of(call.element);
  const auto chunk = static_cast<std::int64_t>(slot_bytes_ / width);
  std::int64_t begin = 0;
  announce_call(call);
  do {
    const std::int64_t length = std::min(chunk, call.count - begin);
    char* part = x + static_cast<std::size_t>(begin) * width;
    copy(slot(rank_), part, static_cast<std::size_t>(length) * width);
    exchange(patience);
    if (begin == 0) compare_calls(call);
    for (int p = 0; p < size_; ++p) sources_[p] = p == rank_ ? part : slot(p);
    reduce_in_rank_order(sources_.data(), size_, length, call.element, call.reduction, part);
    ++step_;
    begin += length;
  } while (begin < call.count);
}

void SharedMemoryTransport::all_reduce_by_shares(const CollectiveCall& call, char* x,
                                                 const Patience& patience) {
  const std::size_t width = size_of(call.element);
  const auto chunk = static_cast<std::int64_t>(slot_bytes_ / width);
  std::int64_t begin = 0;
  announce_call(call);
  do {
    const std::int64_t length = std::min(chunk, call.count - begin);
    char* part = x + static_cast<std::size_t>(begin) * width;
    const auto share_offset = [&](int p) { return static_cast<std::size_t>(length * p / size_) * width; };
    const std::size_t my_begin = share_offset(rank_), my_end = share_offset(rank_ + 1);

    copy(slot(rank_), part, my_begin);  // the others' shares
    copy(slot(rank_) + my_end, part + my_end, static_cast<std::size_t>(length) * width - my_end);
    exchange(patience);
    if (begin == 0) compare_calls(call);
    for (int p = 0; p < size_; ++p) sources_[p] = (p == rank_ ? part : slot(p)) + my_begin;
    ++step_;
    reduce_in_rank_order(sources_.data(), size_, static_cast<std::int64_t>((my_end - my_begin) / width),
                         call.element, call.reduction, slot(rank_));

    exchange(patience);
    for (int p = 0; p < size_; ++p)
      copy(part + share_offset(p), slot(p), share_offset(p + 1) - share_offset(p));
    ++step_;
    begin += length;
  } while (begin < call.count);
}

void SharedMemoryTransport::all_gather(const CollectiveCall& call, const void* in, void* out,
                                       const Patience& patience) {
  const std::size_t total = static_cast<std::size_t>(call.count) * size_of(call.element);
  const std::size_t mine = total / static_cast<std::size_t>(size_);
  const char* from = static_cast<const char*>(in);
  char* to = static_cast<char*>(out);
  std::size_t begin = 0;
  announce_call(call);
  do {
    const std::size_t length = std::min(slot_bytes_, mine - begin);
    copy(slot(rank_), from + begin, length);
    exchange(patience);
    if (begin == 0) compare_calls(call);
    for (int p = 0; p < size_; ++p) {
      const char* source = p == rank_ ? from + begin : slot(p);
      copy(to + static_cast<std::size_t>(p) * mine + begin, source, length);
    }
    ++step_;
    begin += length;
  } while (begin < mine);
}

void SharedMemoryTransport::reduce_scatter(const CollectiveCall& call, const void* in, void* out,
                                           const Patience& patience) {
  const std::size_t width = size_of(call.element);
  const std::int64_t mine = call.count / size_;
  const auto share = static_cast<std::int64_t>(slot_bytes_ / width / static_cast<std::size_t>(size_));
  const char* from = static_cast<const char*>(in);
  std::int64_t begin = 0;
  announce_call(call);
  do {
    const std::int64_t length = std::min(share, mine - begin);
    const auto bytes = static_cast<std::size_t>(length) * width;
    const auto part_for = [&](int p) { return from + static_cast<std::size_t>(p * mine + begin) * width; };
    for (int p = 0; p < size_; ++p)
      if (p != rank_) copy(slot(rank_) + static_cast<std::size_t>(p) * bytes, part_for(p), bytes);
    exchange(patience);
    if (begin == 0) compare_calls(call);
    for (int p = 0; p < size_; ++p)
      sources_[p] = p == rank_ ? part_for(p) : slot(p) + static_cast<std::size_t>(rank_) * bytes;
    reduce_in_rank_order(sources_.data(), size_, length, call.element, call.reduction,
                         static_cast<char*>(out) + static_cast<std::size_t>(begin) * width);
    ++step_;
    begin += length;
  } while (begin < mine);
}

void SharedMemoryTransport::broadcast(const CollectiveCall& call, void* x, const Patience& patience) {
  const std::size_t total = static_cast<std::size_t>(call.count) * size_of(call.element);
  char* to = static_cast<char*>(x);
  std::size_t begin = 0;
  announce_call(call);
  do {
    const std::size_t length = std::min(slot_bytes_, total - begin);
    if (rank_ == call.root) copy(slot(rank_), to + begin, length);
    exchange(patience);
    if (begin == 0) compare_calls(call);
    if (rank_ != call.root) copy(to + begin, slot(call.root), length);
    ++step_;
    begin += length;
  } while (begin < total);
}

void SharedMemoryTransport::barrier(const CollectiveCall& call, const Patience& patience) {
  announce_call(call);
  exchange(patience);
  compare_calls(call);
  ++step_;
}

}  // namespace heddle
