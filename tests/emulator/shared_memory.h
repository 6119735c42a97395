// One block's dynamic shared memory, between guard zones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace heddle::emulator {

class SharedMemory {
 public:
  SharedMemory();

  // Fills `bytes` with 0xff, which is NaN in f32 and bf16, and the guard zones.
  void begin_block(std::size_t bytes);
  // Empty, or which write outside of the block's bytes it has found.
  std::string damage() const;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  bool contains(const void* address, std::size_t size) const {
    const auto begin = reinterpret_cast<std::uintptr_t>(data_),
               first = reinterpret_cast<std::uintptr_t>(address);
    return first >= begin && size <= bytes_ && first - begin <= bytes_ - size;
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte[], Free> memory_;
  std::byte* data_;
  std::size_t bytes_ = 0;
};

}  // namespace heddle::emulator
