// One thread's asynchronous copies into shared memory (cp.async).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/emulator/device.h"
#include "tests/emulator/random.h"

namespace heddle::emulator {

// The destination becomes NaN when a copy is issued. Its source is read, and the destination written, when a
// wait covers the copy or, drawn at random, at an earlier point where the thread passes.
class AsyncCopies {
 public:
  // `size` bytes at `shared`: the first `bytes` from `global`, zeros behind them.
  void issue(void* shared, const void* global, std::size_t size, std::size_t bytes, const Where& where);
  void commit() { ++open_group_; }
  void wait(unsigned pending_groups);
  // A random point in time: sometimes one of the copies arrives.
  void pass(Random& random) {
    if (!waiting_.empty() && random.below(4) == 0) arrive_one(random);
  }

  struct Copy {
    std::byte* shared;
    const void* global;
    std::uint32_t size, bytes;
    std::uint64_t group;
    bool arrived;
    Where where;

    void arrive();
  };
  // Copies that no wait has covered.
  const std::vector<Copy>& waiting() const { return waiting_; }
  void clear() { waiting_.clear(); }

 private:
  void arrive_one(Random& random);

  std::vector<Copy> waiting_;     // in the order of their groups
  std::uint64_t open_group_ = 0;  // of copies not yet committed
};

}  // namespace heddle::emulator
