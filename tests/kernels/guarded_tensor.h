// What the tests of operations share: tensors that notice writes outside of them and elements never written,
// and the comparison of a result with the fp64 reference.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "kernels/philox.h"
#include "kernels/reference/array.h"
#include "kernels/tensor.h"

namespace heddle::test {

// Memory of an f32 or bf16 tensor of any strides. Everything is NaN until written, guard elements around it
// and between its rows are checked by intact().
class GuardedTensor {
 public:
  GuardedTensor(DType dtype, Shape shape) : GuardedTensor(dtype, shape, contiguous_strides(shape)) {}

  GuardedTensor(DType dtype, Shape shape, Shape stride) : tensor_(nullptr, dtype, shape) {
    tensor_.stride = stride;
    std::int64_t span = shape.count() > 0 ? 1 : 0;
    for (int d = 0; d < shape.rank() && span > 0; ++d) span += (shape[d] - 1) * stride[d];
    memory_.assign((span + 2 * kGuard) * size_of(dtype), kPoison);
    tensor_.data = memory_.data() + kGuard * size_of(dtype);
  }

  // [rows, columns] with rows `gap` elements apart from each other's end.
  static GuardedTensor with_gap(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t gap) {
    return {dtype, {rows, columns}, {columns + gap, 1}};
  }

  const Tensor& tensor() const { return tensor_; }

  // Normally distributed values, different for each seed.
  GuardedTensor& fill_random(std::uint64_t seed, float deviation = 1) {
    reference::Array<float> values(tensor_.shape);
    for (std::int64_t i = 0; i < values.count(); ++i)
      values.values[i] = deviation * philox_normal(philox_key(seed, "test"), i);
    reference::to_tensor(values, tensor_);
    return *this;
  }

  GuardedTensor& fill(float value) {
    reference::to_tensor(reference::Array<float>(tensor_.shape, value), tensor_);
    return *this;
  }

  template <typename Real>
  reference::Array<Real> values() const {
    return reference::from_tensor<Real>(tensor_);
  }

  const std::vector<std::uint8_t>& bytes() const { return memory_; }

  // Nothing was written outside of the tensor's elements.
  bool intact() const {
    GuardedTensor copy = *this;
    reference::to_tensor(reference::Array<float>(tensor_.shape), copy.tensor_);
    GuardedTensor fresh(tensor_.dtype, tensor_.shape, tensor_.stride);
    reference::to_tensor(reference::Array<float>(tensor_.shape), fresh.tensor_);
    return copy.memory_ == fresh.memory_;
  }

  GuardedTensor(const GuardedTensor& other) : tensor_(other.tensor_), memory_(other.memory_) { point(); }
  GuardedTensor(GuardedTensor&& other) noexcept : tensor_(other.tensor_), memory_(std::move(other.memory_)) {
    point();
  }
  GuardedTensor& operator=(GuardedTensor&& other) noexcept {
    tensor_ = other.tensor_;
    memory_ = std::move(other.memory_);
    point();
    return *this;
  }

 private:
  static constexpr std::int64_t kGuard = 37;     // odd, so that data is aligned to its elements only
  static constexpr std::uint8_t kPoison = 0xff;  // a NaN in f32 and bf16

  static Shape contiguous_strides(const Shape& shape) { return Tensor(nullptr, DType::f32, shape).stride; }
  void point() { tensor_.data = memory_.data() + kGuard * size_of(tensor_.dtype); }

  Tensor tensor_;
  std::vector<std::uint8_t> memory_;
};

// One unit in the last place of 1.
inline double epsilon_of(DType dtype) {
  return dtype == DType::bf16 ? 0x1p-8 : 0x1p-23;
}

// The rule of DESIGN contract 5: the largest error is at most twice that of the naive implementation in the
// same precision (its result rounded to `dtype`), and the error's Frobenius norm is small against the
// result's.
inline void expect_close(const GuardedTensor& actual, const reference::Array<double>& exact,
                         const reference::Array<float>& naive, const std::string& what) {
  const DType dtype = actual.tensor().dtype;
  const reference::Array<double> values = actual.values<double>();
  ASSERT_EQ(values.count(), exact.count()) << what;
  double largest = 0, naive_error = 0, error = 0, square = 0, square_error = 0;
  for (std::int64_t i = 0; i < exact.count(); ++i) {
    const double e = exact.values[i], v = values.values[i];
    ASSERT_FALSE(std::isnan(v)) << what << ": element " << i << " is NaN or was not written";
    const double n = dtype == DType::bf16 ? static_cast<float>(bfloat16(naive.values[i])) : naive.values[i];
    if (v == e) continue;  // infinities
    largest = std::max(largest, std::abs(e));
    naive_error = std::max(naive_error, std::abs(n - e));
    error = std::max(error, std::abs(v - e));
    square += e * e;
    square_error += (v - e) * (v - e);
  }
  EXPECT_LE(error, 2 * naive_error + epsilon_of(dtype) * largest) << what << ": largest error";
  EXPECT_LE(std::sqrt(square_error), 4 * epsilon_of(dtype) * std::sqrt(square) + 1e-30)
      << what << ": relative Frobenius error";
  EXPECT_TRUE(actual.intact()) << what << ": wrote outside of its tensor";
}

}  // namespace heddle::test
