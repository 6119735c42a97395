// What `heddle bench kernels` times: every operation of kernels/ops.h, on shapes that training has.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops.h"

namespace heddle {

// Operands in device memory, filled with random values (zeros make matrix products faster than they are).
class Operands {
 public:
  explicit Operands(Device& device) : device_(device) {}

  Tensor random(DType dtype, Shape shape);  // f32 or bf16, uniform in (-1, 1)
  Tensor zeros(DType dtype, Shape shape);
  Tensor ids(std::int64_t count, std::int64_t limit);  // i32 in [0, limit)
  template <typename T>
  T* scalar(const T& value) {
    const Tensor tensor = add(DType::u8, {static_cast<std::int64_t>(sizeof(T))});
    upload(tensor, &value);
    return static_cast<T*>(tensor.data);
  }
  std::size_t bytes() const { return bytes_; }
  Device& device() { return device_; }

 private:
  Tensor add(DType dtype, Shape shape);
  void upload(const Tensor& tensor, const void* values);

  Device& device_;
  std::vector<Memory> memory_;
  std::size_t bytes_ = 0;
  std::uint32_t draws_ = 0;
};

struct KernelCase {
  std::string family;  // as the files in kernels/
  std::string name;    // "layer_norm_backward"
  std::string shape;   // "16384 x 768"
  // Makes operands; the call it returns can be repeated.
  std::function<std::function<void(Ops&)>(Operands&)> prepare;
};

// Cases with `rows` tokens, `width` channels and activations of type `act`, for this kind of device.
std::vector<KernelCase> kernel_cases(std::int64_t rows, std::int64_t width, DType act, DeviceKind kind);

}  // namespace heddle
