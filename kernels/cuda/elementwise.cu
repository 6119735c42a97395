// The family "elementwise": bound by memory, with nothing to compute. Bytes moved per element of act: fill 1
// write, copy and scale 1 read and 1 write, add 2 reads and 1 write.
#include "kernels/checks.h"
#include "kernels/copy_plan.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/map.h"

namespace heddle {

using namespace cuda;

namespace {

template <typename T>
__global__ void fill_kernel(T* x, float value, std::int64_t count, bool packs) {
  for_each_pack<T>(count, packs, [&](std::int64_t i, auto width) {
    float v[width];
#pragma unroll
    for (float& element : v) element = value;
    store_elements(x + i, v);
  });
}

template <typename T>
__global__ void add_kernel(const T* a, const T* b, T* out, std::int64_t count, bool packs) {
  for_each_pack<T>(count, packs, [&](std::int64_t i, auto width) {
    float left[width], right[width];
    load_elements(a + i, left);
    load_elements(b + i, right);
#pragma unroll
    for (int k = 0; k < width; ++k) left[k] += right[k];
    store_elements(out + i, left);
  });
}

template <typename T>
__global__ void scale_kernel(const T* x, float factor, T* out, std::int64_t count, bool packs) {
  for_each_pack<T>(count, packs, [&](std::int64_t i, auto width) {
    float v[width];
    load_elements(x + i, v);
#pragma unroll
    for (float& element : v) element *= factor;
    store_elements(out + i, v);
  });
}

// --- copy ---

constexpr int kMaxOuterDims = Shape::kMaxRank - 1;  // the last dimension is always part of a row

// What a copy kernel walks over: rows of `pieces` pieces, a piece being what a thread moves at a time.
struct CopyRows {
  std::uint64_t rows, pieces;  // unsigned: divided as 32-bit numbers where they are small
  int rank = 0;                // outer dimensions
  std::uint64_t size[kMaxOuterDims];
  std::int64_t from_stride[kMaxOuterDims], to_stride[kMaxOuterDims];

  CopyRows(const CopyPlan& plan, std::int64_t pieces_of_a_row) : pieces(pieces_of_a_row) {
    rows = plan.outer.count();
    rank = plan.outer.rank();
    for (int d = 0; d < rank; ++d) {
      size[d] = plan.outer[d];
      from_stride[d] = plan.from_stride[d];
      to_stride[d] = plan.to_stride[d];
    }
  }
};

// body(from_offset, to_offset, piece): the offsets of a row's beginning, in elements.
template <typename Body>
__device__ __forceinline__ void for_each_piece(const CopyRows& copy, Body body) {
  for_each_index(static_cast<std::int64_t>(copy.rows * copy.pieces), [&](std::int64_t i) {
    const std::uint64_t index = i;
    std::uint64_t row = copy.rank > 0 ? index / copy.pieces : 0;
    const std::uint64_t piece = index - row * copy.pieces;
    std::int64_t from = 0, to = 0;
#pragma unroll
    for (int d = kMaxOuterDims - 1; d >= 0; --d) {
      if (d >= copy.rank) continue;
      const std::uint64_t next = d > 0 ? row / copy.size[d] : 0;
      const auto at = static_cast<std::int64_t>(row - next * copy.size[d]);
      from += at * copy.from_stride[d];
      to += at * copy.to_stride[d];
      row = next;
    }
    body(from, to, static_cast<std::int64_t>(piece));
  });
}

// Moves bits; strides count Words.
template <typename Word>
__global__ void copy_kernel(const Word* from, Word* to, CopyRows rows) {
  for_each_piece(rows, [&](std::int64_t source, std::int64_t destination, std::int64_t piece) {
    to[destination + piece] = from[source + piece];
  });
}

// Converts N elements at a time.
template <int N, typename From, typename To>
__global__ void cast_kernel(const From* from, To* to, CopyRows rows) {
  for_each_piece(rows, [&](std::int64_t source, std::int64_t destination, std::int64_t piece) {
    float x[N];
    load_elements(from + source + piece * N, x);
    store_elements(to + destination + piece * N, x);
  });
}

// The most bytes, up to 16, that divide everything about both layouts.
std::int64_t largest_word(const CopyPlan& plan, const Tensor& from, const Tensor& to) {
  const auto size = static_cast<std::int64_t>(size_of(from.dtype));
  std::int64_t bits = plan.width * size | reinterpret_cast<std::intptr_t>(from.data) |
                      reinterpret_cast<std::intptr_t>(to.data) | 16;
  for (int d = 0; d < plan.outer.rank(); ++d) bits |= plan.from_stride[d] * size | plan.to_stride[d] * size;
  return bits & -bits;
}

template <typename Word>
void copy_words(const CopyPlan& plan, const Tensor& from, const Tensor& to, const GpuFacts& gpu,
                cudaStream_t stream) {
  const auto size = static_cast<std::int64_t>(size_of(from.dtype)),
             word = static_cast<std::int64_t>(sizeof(Word));
  CopyRows rows(plan, plan.width * size / word);
  for (int d = 0; d < rows.rank; ++d) {
    rows.from_stride[d] = rows.from_stride[d] * size / word;
    rows.to_stride[d] = rows.to_stride[d] * size / word;
  }
  launch<&copy_kernel<Word>>(map_shape(from.count() * size / word, gpu), stream,
                             static_cast<const Word*>(from.data), static_cast<Word*>(to.data), rows);
}

template <typename From, typename To>
void copy_cast(const CopyPlan& plan, const Tensor& from, const Tensor& to, const GpuFacts& gpu,
               cudaStream_t stream) {
  constexpr int kWide = kPack<bfloat16>;  // 16 bytes of one side and 32 of the other
  bool packs = packs_fit<From>(from.data, 0) && packs_fit<To>(to.data, 0) && plan.width % kWide == 0;
  for (int d = 0; d < plan.outer.rank(); ++d)
    packs = packs && plan.from_stride[d] % kWide == 0 && plan.to_stride[d] % kWide == 0;
  if (packs)
    launch<&cast_kernel<kWide, From, To>>(map_shape(from.count() / kWide, gpu), stream, from.as<From>(),
                                          to.as<To>(), CopyRows(plan, plan.width / kWide));
  else
    launch<&cast_kernel<1, From, To>>(map_shape(from.count(), gpu), stream, from.as<From>(), to.as<To>(),
                                      CopyRows(plan, plan.width));
}

}  // namespace

void CudaOps::fill(const Tensor& x, float value) {
  checks::fill(x);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool packs = all_packs_fit<T>(x.data);
    launch<&fill_kernel<T>>(map_shape<T>(x.count(), packs, gpu_), stream_, x.as<T>(), value, x.count(),
                            packs);
  });
}

void CudaOps::copy(const Tensor& from, const Tensor& to) {
  checks::copy(from, to);
  if (from.count() == 0) return;
  const CopyPlan plan(from, to);
  if (from.dtype == DType::f32 && to.dtype == DType::bf16)
    return copy_cast<float, bfloat16>(plan, from, to, gpu_, stream_);
  if (from.dtype == DType::bf16 && to.dtype == DType::f32)
    return copy_cast<bfloat16, float>(plan, from, to, gpu_, stream_);
  switch (largest_word(plan, from, to)) {
    case 16: return copy_words<uint4>(plan, from, to, gpu_, stream_);
    case 8: return copy_words<std::uint64_t>(plan, from, to, gpu_, stream_);
    case 4: return copy_words<std::uint32_t>(plan, from, to, gpu_, stream_);
    case 2: return copy_words<std::uint16_t>(plan, from, to, gpu_, stream_);
    default: return copy_words<std::uint8_t>(plan, from, to, gpu_, stream_);
  }
}

void CudaOps::add(const Tensor& a, const Tensor& b, const Tensor& out) {
  checks::add(a, b, out);
  with_act_type(a.dtype, [&](auto type) {
    using T = decltype(type);
    const bool packs = all_packs_fit<T>(a.data, b.data, out.data);
    launch<&add_kernel<T>>(map_shape<T>(a.count(), packs, gpu_), stream_, a.as<T>(), b.as<T>(), out.as<T>(),
                           a.count(), packs);
  });
}

void CudaOps::scale(const Tensor& x, float factor, const Tensor& out) {
  checks::scale(x, out);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool packs = all_packs_fit<T>(x.data, out.data);
    launch<&scale_kernel<T>>(map_shape<T>(x.count(), packs, gpu_), stream_, x.as<T>(), factor, out.as<T>(),
                             x.count(), packs);
  });
}

}  // namespace heddle
