// Host memory that the emulated GPUs read and write when a queued copy runs. Protected by the scheduler's
// lock.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <map>

namespace heddle::emulator {

class PinnedMemory {
 public:
  static PinnedMemory& instance() {
    static auto* const memory = new PinnedMemory;
    return *memory;
  }

  void* allocate(std::size_t bytes) {
    constexpr std::size_t kPage = 4096;
    void* data = std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage);
    if (data) blocks_.emplace(static_cast<std::byte*>(data), bytes);
    return data;
  }
  bool release(void* pointer) {
    if (blocks_.erase(static_cast<std::byte*>(pointer)) == 0) return false;
    std::free(pointer);
    return true;
  }
  void release_all() {
    while (!blocks_.empty()) release(blocks_.begin()->first);
  }

  // Whether [pointer, pointer + bytes) is pinned.
  bool find(const void* pointer, std::size_t bytes = 0) const {
    auto* p = const_cast<std::byte*>(static_cast<const std::byte*>(pointer));
    auto block = blocks_.upper_bound(p);
    if (block == blocks_.begin()) return false;
    --block;
    return p + bytes <= block->first + block->second;
  }

 private:
  std::map<std::byte*, std::size_t> blocks_;
};

}  // namespace heddle::emulator
