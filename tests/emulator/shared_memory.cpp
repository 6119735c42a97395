#include "tests/emulator/shared_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <span>

#include "tests/emulator/grid.h"

namespace heddle::emulator {
namespace {

constexpr std::size_t kGuardBytes = 4096;
// NaN as f32 and as bf16, so that reads outside are seen too, and unlike the filling of shared memory.
constexpr unsigned char kGuard[2] = {0xe5, 0xff};

unsigned char guard_at(std::size_t i) {
  return kGuard[i % 2];
}

void fill_guard(std::byte* first) {
  for (std::size_t i = 0; i < kGuardBytes; ++i) first[i] = std::byte{guard_at(i)};
}

// Offset of the first byte that was written, or kGuardBytes.
std::size_t first_written(const std::byte* first) {
  // Every two bytes are equal to the next two: one comparison of the zone with itself.
  if (first[0] == std::byte{kGuard[0]} && first[1] == std::byte{kGuard[1]} &&
      std::memcmp(first, first + 2, kGuardBytes - 2) == 0)
    return kGuardBytes;
  std::size_t i = 0;
  while (first[i] == std::byte{guard_at(i)}) ++i;
  return i;
}

}  // namespace

void SharedMemory::Free::operator()(std::byte* memory) const {
  ::operator delete[](memory, std::align_val_t{kGuardBytes});
}

SharedMemory::SharedMemory()
    : memory_(static_cast<std::byte*>(
          ::operator new[](kGuardBytes + kMaxSharedBytes + kGuardBytes, std::align_val_t{kGuardBytes}))),
      data_(memory_.get() + kGuardBytes) {
  static_assert(kGuardBytes % kSharedAlignment == 0);
  fill_guard(memory_.get());
}

void SharedMemory::begin_block(std::size_t bytes) {
  std::memset(data_, 0xff, bytes);
  if (bytes != bytes_ || first_written(data_ + bytes) != kGuardBytes) fill_guard(data_ + bytes);
  if (first_written(memory_.get()) != kGuardBytes) fill_guard(memory_.get());
  bytes_ = bytes;
}

std::string SharedMemory::damage() const {
  if (const std::size_t i = first_written(data_ + bytes_); i != kGuardBytes)
    return fmt::format("byte {} of its {} bytes of shared memory has been written", bytes_ + i, bytes_);
  if (first_written(memory_.get()) != kGuardBytes) return "bytes before its shared memory have been written";
  return {};
}

}  // namespace heddle::emulator
