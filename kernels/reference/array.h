// The reference implementation: every operation of kernels/ops.h as plain loops, written to be read. Tests
// only.
//
// Each function is a template over the arithmetic type. With Real = double it is the definition of the
// operation; with Real = float it is the naive implementation whose error the tolerances are measured
// against. Nothing is parallel, fused, blocked or reordered. Where ops.h says "+=", the reference returns the
// term that is added.
#pragma once

#include <cassert>
#include <cstdint>
#include <vector>

#include "kernels/tensor.h"

namespace heddle::reference {

// A contiguous array that owns its values. One of rank 0 stands for an argument that is not given.
template <typename Real>
struct Array {
  Shape shape;
  std::vector<Real> values;

  Array() = default;
  explicit Array(Shape shape, Real value = 0) : shape(shape), values(shape.count(), value) {}

  bool given() const { return shape.rank() > 0; }
  std::int64_t size(int dim) const { return shape[dim < 0 ? shape.rank() + dim : dim]; }
  std::int64_t count() const { return static_cast<std::int64_t>(values.size()); }

  template <typename... Index>
  Real& operator()(Index... index) {
    return values[offset({static_cast<std::int64_t>(index)...})];
  }
  template <typename... Index>
  Real operator()(Index... index) const {
    return values[offset({static_cast<std::int64_t>(index)...})];
  }

 private:
  std::size_t offset(std::initializer_list<std::int64_t> index) const {
    assert(static_cast<int>(index.size()) == shape.rank());
    std::int64_t at = 0;
    int dim = 0;
    for (std::int64_t i : index) {
      assert(i >= 0 && i < shape[dim]);
      at = at * shape[dim++] + i;
    }
    return static_cast<std::size_t>(at);
  }
};

// The values of an f32 or bf16 tensor of any strides. A null tensor gives an array that is not given.
template <typename Real>
Array<Real> from_tensor(const Tensor& tensor);

// Rounds the array's values into an f32 or bf16 tensor of the same shape and any strides.
template <typename Real>
void to_tensor(const Array<Real>& array, const Tensor& tensor);

}  // namespace heddle::reference
