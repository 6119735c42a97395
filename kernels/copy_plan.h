// A copy between two layouts of the same elements as rows of elements that are contiguous in both.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace heddle {

// Neighbouring dimensions that lie behind one another in both layouts are one dimension; those of one element
// are none.
struct CopyPlan {
  std::int64_t width = 1;  // elements of a row
  Shape outer;             // the other dimensions; their count() is the number of rows
  Shape from_stride, to_stride;

  CopyPlan(const Tensor& from, const Tensor& to) {
    int dim = from.rank() - 1;
    for (; dim >= 0; --dim) {
      if (from.shape[dim] != 1 && (from.stride[dim] != width || to.stride[dim] != width)) break;
      width *= from.shape[dim];
    }
    for (int d = 0; d <= dim; ++d)
      if (from.shape[d] != 1) add_dimension(from.shape[d], from.stride[d], to.stride[d]);
  }

  std::int64_t offset(std::int64_t row, const Shape& stride) const {
    std::int64_t offset = 0;
    for (int d = outer.rank() - 1; d >= 0; --d) {
      offset += row % outer[d] * stride[d];
      row /= outer[d];
    }
    return offset;
  }

 private:
  void add_dimension(std::int64_t size, std::int64_t from, std::int64_t to) {
    const int last = outer.rank() - 1;
    if (last >= 0 && from_stride[last] == size * from && to_stride[last] == size * to) {
      outer[last] *= size;
      from_stride[last] = from;
      to_stride[last] = to;
      return;
    }
    outer.push_back(size);
    from_stride.push_back(from);
    to_stride.push_back(to);
  }
};

}  // namespace heddle
