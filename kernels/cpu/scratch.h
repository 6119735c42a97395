// Working memory of the CPU operations: grows to the largest request ever made and stays, so that a training
// step allocates nothing once each shape has been seen.
#pragma once

#include <cstddef>
#include <new>

namespace heddle {

class Scratch {
 public:
  Scratch() = default;
  ~Scratch() { release(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // 64-byte aligned room for `count` elements; the contents are unspecified and an earlier request's room is
  // gone.
  template <typename T>
  T* reserve(std::size_t count) {
    const std::size_t bytes = count * sizeof(T);
    if (bytes > capacity_) grow(bytes);
    return static_cast<T*>(data_);
  }

 private:
  static constexpr std::align_val_t kAlignment{64};

  void grow(std::size_t bytes) {
    release();
    data_ = ::operator new(bytes, kAlignment);
    capacity_ = bytes;
  }
  void release() {
    ::operator delete(data_, kAlignment);
    data_ = nullptr;
    capacity_ = 0;
  }

  void* data_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace heddle
