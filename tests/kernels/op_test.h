// What the tests of operations share: devices under test, guarded and poisoned tensors, random values, and
// the rule by which a result is judged against the reference.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops.h"
#include "kernels/reference/array.h"

namespace heddle::test {

using reference::Array;

// A device that the operations are tested on. The same tests are linked into one program per kind of device, each
// with its own all_backends(): backends_cpu.cpp, backends_cuda.cpp.
struct Backend {
  std::string name;
  std::unique_ptr<Device> (*make)();
};
const std::vector<Backend>& all_backends();
// Those whose results have the same bits: numbers of threads, orders in which a GPU's threads run.
const std::vector<Backend>& backends_of_equal_bits();

struct OpCase {
  const Backend* backend;
  DType act;
};

// Test names: cpu3_bf16.
std::string case_name(const testing::TestParamInfo<OpCase>& info);
void PrintTo(const OpCase& op_case, std::ostream* out);
std::vector<OpCase> all_cases();

// Tests of operations, run on every backend with activations in f32 and bf16.
class OpTest : public testing::TestWithParam<OpCase> {
 protected:
  OpTest() : device_(GetParam().backend->make()) {}
  Device& device() { return *device_; }
  Ops& ops() { return device_->ops(); }
  DType act() const { return GetParam().act; }

 private:
  std::unique_ptr<Device> device_;
};
#define HEDDLE_OP_TEST(Suite)         \
  using Suite = heddle::test::OpTest; \
  INSTANTIATE_TEST_SUITE_P(, Suite, testing::ValuesIn(heddle::test::all_cases()), heddle::test::case_name)

// A contiguous tensor on a device. It starts as NaN (all bits set, -1 for integers), so that an output that
// is not written shows; zones before and after it must be untouched when it is destroyed.
class Buffer {
 public:
  Buffer(Device& device, DType dtype, Shape shape);
  Buffer(Device& device, DType dtype, const Array<double>& values);  // rounded to dtype
  Buffer(Device& device, const std::vector<std::int32_t>& values);
  ~Buffer();
  Buffer(Buffer&&) = default;

  const Tensor& tensor() const { return tensor_; }
  operator const Tensor&() const { return tensor_; }

  // The values as the device has them: rounded ones, for the reference to start from.
  template <typename Real>
  Array<Real> values() const;
  std::vector<unsigned char> bytes() const;

 private:
  void upload(const std::vector<unsigned char>& bytes);

  Device* device_;
  Memory memory_;
  Tensor tensor_;
};

// One number in device memory, for the arguments that are pointers.
template <typename T>
class Scalar {
 public:
  Scalar(Device& device, const T& value) : device_(&device), memory_(device.allocate(sizeof(T))) {
    device.copy_to_device(device.compute_stream(), as_bytes(), &value);
    device.compute_stream().synchronize();
  }
  T* get() const { return static_cast<T*>(memory_.data()); }
  T value() const {
    T value;
    device_->copy_to_host(device_->compute_stream(), &value, as_bytes());
    device_->compute_stream().synchronize();
    return value;
  }

 private:
  Tensor as_bytes() const {
    return Tensor(memory_.data(), DType::u8, {static_cast<std::int64_t>(sizeof(T))});
  }

  Device* device_;
  Memory memory_;
};

// Reproducible random inputs.
class Random {
 public:
  explicit Random(std::uint32_t seed = 1) : engine_(seed) {}
  Array<double> normal(Shape shape, double deviation = 1);
  std::vector<std::int32_t> integers(std::int64_t count, std::int32_t low,
                                     std::int32_t high);  // both included

 private:
  std::mt19937 engine_;
};

// The largest error is at most twice that of the naive implementation in float, rounded to the result's type
// (plus one unit in the last place of a float at the largest value, for where the naive one happens to be
// exact), and the Frobenius norm of the error is at most 2^-19 (f32) or 2^-8 (bf16) of the result's.
// Infinities must match. `allowance` is added to the error that each element may have: for operations that
// round what lies between their steps, which the naive implementation in float does not.
void expect_close(const Buffer& actual, const Array<double>& exact, const Array<float>& naive,
                  const std::string& what, double allowance = 0);

// a + b, for the reference of "+=".
template <typename Real>
Array<Real> plus(Array<Real> a, const Array<Real>& b) {
  for (std::int64_t i = 0; i < a.count(); ++i) a.values[i] += b.values[i];
  return a;
}

// Sizes that meet every tail of every vector width, and one that keeps several threads busy.
struct RowsAndWidth {
  std::int64_t rows, width;
};
const std::vector<RowsAndWidth>& matrix_sizes();
std::string to_string(const RowsAndWidth& size);

constexpr Activation kAllActivations[] = {Activation::none, Activation::relu, Activation::gelu_tanh,
                                          Activation::gelu_erf, Activation::silu};

}  // namespace heddle::test
