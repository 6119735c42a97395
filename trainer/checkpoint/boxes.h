// Boxes of tensors: the arithmetic between global coordinates, what a rank holds, and what a file holds.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "kernels/tensor.h"

namespace heddle {

struct Box {
  Shape offset;
  Shape extent;

  bool operator==(const Box& other) const { return offset == other.offset && extent == other.extent; }
};

// The whole of a tensor.
Box whole(const Shape& shape);
// `inner` has the rank of `shape`, and lies within it.
bool contains(const Shape& shape, const Box& inner);
// The common part; nothing if it is empty. Both of the same rank.
std::optional<Box> intersection(const Box& a, const Box& b);
// a - b, and a + b, per dimension.
Shape difference(const Shape& a, const Shape& b);
Shape sum(const Shape& a, const Shape& b);

// Number of elements, or nothing if a size is negative or the bytes exceed 63 bits.
std::optional<std::int64_t> checked_count(const Shape& shape, DType dtype);

// Do the boxes cover `region` exactly, without a hole or an overlap? Each must be non-empty and within the
// region. Decided by cutting the region along planes that no box crosses, which covers every partition into
// blocks, groups of blocks and ranges of rows; arrangements that no plane divides (a pinwheel) are refused.
// O(n log n) per level.
bool tile_exactly(const Box& region, std::vector<Box> boxes);

// A part of a box whose elements lie within `span` consecutive elements of the row-major container.
struct Slab {
  Box box;             // in the coordinates of the container
  std::int64_t first;  // element of the container where it begins
  std::int64_t span;   // elements from its first to its last, of which some may lie outside of the box

  bool dense() const { return span == box.extent.count(); }
};

// Cuts `box` of a row-major tensor of shape `container` into slabs of at most `max_span` elements, in
// row-major order, so that a bounded buffer serves any tensor. A slab that is not dense is cut further when
// its contiguous runs have at least `direct_run` elements: then it is cheaper to fetch the runs than what
// lies between.
void for_each_slab(const Shape& container, const Box& box, std::int64_t max_span, std::int64_t direct_run,
                   const std::function<void(const Slab&)>& visit);

// The elements of `box` in a host buffer that holds slab.first.. of the container.
Tensor view_of_slab(void* buffer, DType dtype, const Shape& container, const Slab& slab);

// Copies host memory to host memory: equal shapes, any strides. f32 -> bf16 rounds to nearest even, bf16 ->
// f32 is exact; other types must be equal. Throws Error for a pair that is not convertible.
void copy_host(const Tensor& from, const Tensor& to);

}  // namespace heddle
