// The emulated GPUs' memory: one range of addresses that host code cannot touch.
//
//   - The pages are accessible only while DeviceAccess objects exist, that is while queued work runs. Host
//   code that
//     dereferences a device pointer ends with one line that says so (a sanitizer prints its own).
//   - Fresh memory is filled with bytes 0xff: NaN in every float format.
//   - Between allocations lie guard zones, NaN as well; writes into them are found after every piece of work.
//   - Every device has HEDDLE_EMULATOR_MEMORY bytes; what does not fit is refused.
// Not thread-safe: the scheduler's lock protects it.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace heddle::emulator {

class DeviceMemory {
 public:
  static constexpr std::size_t kAlignment = 256;

  struct Block {
    std::byte* data;
    std::size_t bytes;
    int device;
  };

  static DeviceMemory& instance();

  // 256-byte aligned; null when the device has not that much left.
  void* allocate(int device, std::size_t bytes);
  // False when `pointer` is not the start of an allocation.
  bool release(void* pointer);
  void release_all();

  // Whether the address lies in the emulated GPUs' range at all.
  bool owns(const void* pointer) const;
  // The allocation that `pointer` lies in or just behind.
  std::optional<Block> find(const void* pointer) const;

  std::size_t total() const { return total_; }  // per device
  std::size_t used(int device) const;

  // Text that names an allocation whose guard zone has been written to. Needs a DeviceAccess.
  std::optional<std::string> damage();

  void open();
  void close();

 private:
  DeviceMemory();
  std::optional<std::size_t> take(std::size_t bytes);  // offset of a free range
  void give(std::size_t offset, std::size_t bytes);
  void protect();

  std::byte* base_ = nullptr;
  std::size_t top_ = 0;                      // above it nothing has ever been allocated
  std::map<std::size_t, std::size_t> free_;  // offset -> bytes, below top_
  std::map<std::byte*, Block> blocks_;       // by address
  std::vector<std::size_t> used_;            // by device
  std::size_t total_ = 0;
  int open_ = 0;
};

// While one exists, this process may touch device memory.
class DeviceAccess {
 public:
  DeviceAccess() { DeviceMemory::instance().open(); }
  ~DeviceAccess() { DeviceMemory::instance().close(); }
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace heddle::emulator
