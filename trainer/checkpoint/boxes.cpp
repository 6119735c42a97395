#include "trainer/checkpoint/boxes.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "kernels/error.h"

namespace heddle {

namespace {

Shape contiguous_strides(const Shape& shape) {
  return Tensor(nullptr, DType::u8, shape).stride;
}

std::int64_t dot(const Shape& a, const Shape& b) {
  std::int64_t total = 0;
  for (int i = 0; i < a.rank(); ++i) total += a[i] * b[i];
  return total;
}

Shape combine(const Shape& a, const Shape& b, std::int64_t sign) {
  Shape result = a;
  for (int i = 0; i < a.rank(); ++i) result[i] += sign * b[i];
  return result;
}

// One cut along every dimension in turn; see tile_exactly.
bool tiles(const Box& region, std::span<Box> boxes, int depth) {
  // Partitions that arise from sharding need a few levels; the bound keeps a hostile file from burning time.
  constexpr int kMaxDepth = 16;
  if (boxes.size() == 1) return boxes[0] == region;
  if (boxes.empty() || depth > kMaxDepth) return false;
  for (int dim = 0; dim < region.offset.rank(); ++dim) {
    std::sort(boxes.begin(), boxes.end(),
              [dim](const Box& a, const Box& b) { return a.offset[dim] < b.offset[dim]; });
    std::vector<std::size_t> cuts = {
        0};  // first box of each group; no box reaches from one group into the next
    std::vector<std::int64_t> planes = {region.offset[dim]};
    std::int64_t reached = region.offset[dim];
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      if (boxes[i].offset[dim] > reached) return false;  // a hole
      if (i > 0 && boxes[i].offset[dim] == reached) {
        cuts.push_back(i);
        planes.push_back(reached);
      }
      reached = std::max(reached, boxes[i].offset[dim] + boxes[i].extent[dim]);
    }
    if (reached != region.offset[dim] + region.extent[dim]) return false;
    if (cuts.size() == 1) continue;
    cuts.push_back(boxes.size());
    planes.push_back(reached);
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      Box part = region;
      part.offset[dim] = planes[i];
      part.extent[dim] = planes[i + 1] - planes[i];
      if (!tiles(part, boxes.subspan(cuts[i], cuts[i + 1] - cuts[i]), depth + 1)) return false;
    }
    return true;
  }
  return false;
}

// Elements of the contiguous runs that a box consists of.
std::int64_t run_length(const Shape& container, const Shape& extent) {
  std::int64_t run = 1;
  for (int i = extent.rank() - 1; i >= 0; --i) {
    run *= extent[i];
    if (extent[i] != container[i]) break;
  }
  return run;
}

void copy_run(const Tensor& from, std::int64_t from_at, const Tensor& to, std::int64_t to_at,
              std::int64_t count) {
  const char* source =
      static_cast<const char*>(from.data) + from_at * static_cast<std::int64_t>(size_of(from.dtype));
  char* target = static_cast<char*>(to.data) + to_at * static_cast<std::int64_t>(size_of(to.dtype));
  if (from.dtype == to.dtype) {
    std::memcpy(target, source, static_cast<std::size_t>(count) * size_of(from.dtype));
  } else if (from.dtype == DType::f32 && to.dtype == DType::bf16) {
    for (std::int64_t i = 0; i < count; ++i)
      reinterpret_cast<bfloat16*>(target)[i] = bfloat16(reinterpret_cast<const float*>(source)[i]);
  } else if (from.dtype == DType::bf16 && to.dtype == DType::f32) {
    for (std::int64_t i = 0; i < count; ++i)
      reinterpret_cast<float*>(target)[i] = reinterpret_cast<const bfloat16*>(source)[i];
  } else {
    throw error("cannot convert {} to {}", name_of(from.dtype), name_of(to.dtype));
  }
}

}  // namespace

Box whole(const Shape& shape) {
  return {combine(shape, shape, -1), shape};
}

bool contains(const Shape& shape, const Box& inner) {
  if (inner.offset.rank() != shape.rank() || inner.extent.rank() != shape.rank()) return false;
  for (int i = 0; i < shape.rank(); ++i)
    if (inner.offset[i] < 0 || inner.extent[i] < 0 || inner.offset[i] > shape[i] ||
        inner.extent[i] > shape[i] - inner.offset[i])
      return false;
  return true;
}

std::optional<Box> intersection(const Box& a, const Box& b) {
  Box common = a;
  for (int i = 0; i < a.offset.rank(); ++i) {
    const std::int64_t begin = std::max(a.offset[i], b.offset[i]);
    const std::int64_t end = std::min(a.offset[i] + a.extent[i], b.offset[i] + b.extent[i]);
    if (begin >= end) return std::nullopt;
    common.offset[i] = begin;
    common.extent[i] = end - begin;
  }
  return common;
}

Shape difference(const Shape& a, const Shape& b) {
  return combine(a, b, -1);
}
Shape sum(const Shape& a, const Shape& b) {
  return combine(a, b, 1);
}

std::optional<std::int64_t> checked_count(const Shape& shape, DType dtype) {
  std::int64_t bytes = static_cast<std::int64_t>(size_of(dtype));
  bool empty = false;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] < 0) return std::nullopt;
    empty = empty || shape[i] == 0;
    // A zero among them does not excuse the others: products of some of them are formed too.
    if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(shape[i], 1), &bytes)) return std::nullopt;
  }
  return empty ? 0 : bytes / static_cast<std::int64_t>(size_of(dtype));
}

bool tile_exactly(const Box& region, std::vector<Box> boxes) {
  if (region.extent.count() == 0) return boxes.empty();
  return tiles(region, boxes, 0);
}

void for_each_slab(const Shape& container, const Box& box, std::int64_t max_span, std::int64_t direct_run,
                   const std::function<void(const Slab&)>& visit) {
  if (box.extent.count() == 0) return;
  const Shape strides = contiguous_strides(container);
  Shape last = box.extent;
  for (int i = 0; i < last.rank(); ++i) --last[i];
  const Slab slab{box, dot(box.offset, strides), dot(last, strides) + 1};
  const bool fetch_runs = !slab.dense() && run_length(container, box.extent) >= direct_run;
  if (slab.span <= max_span && !fetch_runs) return visit(slab);

  int dim = 0;  // halving the outermost dimension keeps the row-major order
  while (box.extent[dim] == 1) ++dim;
  Box lower = box, upper = box;
  lower.extent[dim] = box.extent[dim] / 2;
  upper.offset[dim] += lower.extent[dim];
  upper.extent[dim] -= lower.extent[dim];
  for_each_slab(container, lower, max_span, direct_run, visit);
  for_each_slab(container, upper, max_span, direct_run, visit);
}

Tensor view_of_slab(void* buffer, DType dtype, const Shape& container, const Slab& slab) {
  Tensor view(buffer, dtype, slab.box.extent);
  view.stride = contiguous_strides(container);
  return view;
}

void copy_host(const Tensor& from, const Tensor& to) {
  if (from.count() == 0) return;
  int outer = from.rank();  // dimensions from here on are contiguous in both and copied in one run
  std::int64_t run = 1;
  while (outer > 0 &&
         (from.shape[outer - 1] == 1 || (from.stride[outer - 1] == run && to.stride[outer - 1] == run)))
    run *= from.shape[--outer];
  Shape index = whole(from.shape).offset;
  for (;;) {
    copy_run(from, dot(index, from.stride), to, dot(index, to.stride), run);
    int dim = outer - 1;
    while (dim >= 0 && ++index[dim] == from.shape[dim]) index[dim--] = 0;
    if (dim < 0) return;
  }
}

}  // namespace heddle
