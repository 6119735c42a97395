// The matrix products inside attention: small tiles in the cache, and the layouts they are read in.
//
// All of them have the form c[rows, 64] = a[rows, k] b[k, 64] with vectors running along the 64 columns. k is
// counted in steps of one 32-bit word: one f32, or two bf16 that the processor multiplies and adds at once.
// A sum's order is that of k, whatever the number of rows and columns: elements do not know their neighbours.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vector.h"

namespace heddle::cpu {

// Queries and keys of one tile.
constexpr int kTile = 64;
static_assert(kTile % kLanes == 0);

constexpr std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// --- words ---

// A word is one f32 (bf16 tensors are widened as they are copied).
struct SingleWords {
  static constexpr int kDepth = 1;  // values of the summed dimension in a word

  static FloatVector multiply_add(FloatVector sum, UIntVector a, UIntVector b) {
    return sum + from_bits(a) * from_bits(b);
  }
  // Word i of `to`: lane i of the values.
  static void store_interleaved(std::uint32_t* to, const FloatVector (&values)[kDepth]) {
    std::memcpy(to, &values[0], sizeof values[0]);
  }
  // kLanes neighbouring values of a row.
  static void store_row(std::uint32_t* to, FloatVector values) { std::memcpy(to, &values, sizeof values); }
};

#if defined(__AVX512BF16__)
// A word is two bf16, the first in the lower half.
struct PairWords {
  static constexpr int kDepth = 2;

  static FloatVector multiply_add(FloatVector sum, UIntVector a, UIntVector b) {
    return _mm512_dpbf16_ps(sum, std::bit_cast<__m512bh>(a), std::bit_cast<__m512bh>(b));
  }
  static void store_interleaved(std::uint32_t* to, const FloatVector (&values)[kDepth]) {
    using HalfWords = std::uint16_t __attribute__((vector_size(64)));
    HalfWords order;
    for (int i = 0; i < kLanes; ++i) order[2 * i] = i, order[2 * i + 1] = kLanes + i;
    const auto rounded = std::bit_cast<HalfWords>(_mm512_cvtne2ps_pbh(values[1], values[0]));
    const HalfWords interleaved = __builtin_shuffle(rounded, order);
    std::memcpy(to, &interleaved, sizeof interleaved);
  }
  static void store_row(std::uint32_t* to, FloatVector values) {
    const __m256bh rounded = _mm512_cvtneps_pbh(values);
    std::memcpy(to, &rounded, sizeof rounded);
  }
};
template <typename T>
using WordsOf = std::conditional_t<std::is_same_v<T, bfloat16>, PairWords, SingleWords>;
#else
template <typename T>
using WordsOf = SingleWords;
#endif

// Steps that `count` values of the summed dimension take.
template <typename Words>
constexpr std::int64_t steps_of(std::int64_t count) {
  return (count + Words::kDepth - 1) / Words::kDepth;
}

// --- the left operand: words anywhere in memory ---

struct LeftOperand {
  const std::byte* data;
  std::int64_t row_bytes, step_bytes;

  LeftOperand from_row(std::int64_t row) const { return {data + row * row_bytes, row_bytes, step_bytes}; }
  LeftOperand from_step(std::int64_t step) const { return {data + step * step_bytes, row_bytes, step_bytes}; }
};

inline LeftOperand left_operand(const void* words, std::int64_t row_words, std::int64_t step_words) {
  return {static_cast<const std::byte*>(words), 4 * row_words, 4 * step_words};
}

// --- the product ---

enum class Store {
  scaled,        // c = factor[0] a b
  add,           // c += a b
  rescaled_add,  // c = factor[column] c + a b
};

// As many sums as fit in the processor's registers beside the operands.
constexpr int kBlockRows = 4, kBlockVectors = kLanes == 16 ? 4 : 2;

template <typename Words, Store kStore, int kRows, int kVectors>
inline void multiply_block(const LeftOperand& a, const std::uint32_t* b, std::int64_t steps,
                           const float* factor, float* c, std::int64_t stride) {
  FloatVector sums[kRows][kVectors] = {};
  if constexpr (kStore != Store::scaled)
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = load(c + r * stride + v * kLanes);
        if constexpr (kStore == Store::rescaled_add) sums[r][v] *= load(factor + v * kLanes);
      }
  const std::byte* word = a.data;
  for (std::int64_t s = 0; s < steps; ++s, b += stride, word += a.step_bytes) {
    UIntVector right[kVectors];
    for (int v = 0; v < kVectors; ++v) std::memcpy(&right[v], b + v * kLanes, sizeof right[v]);
    for (int r = 0; r < kRows; ++r) {
      std::uint32_t left;
      std::memcpy(&left, word + r * a.row_bytes, 4);
      const UIntVector spread = left + UIntVector{};
      for (int v = 0; v < kVectors; ++v) sums[r][v] = Words::multiply_add(sums[r][v], spread, right[v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      store(c + r * stride + v * kLanes, kStore == Store::scaled ? sums[r][v] * factor[0] : sums[r][v]);
}

// c[rows, vectors * kLanes] from a[rows, steps] and b[steps, vectors * kLanes]; rows of b and c are `stride`
// apart.
template <typename Words, Store kStore>
void multiply(const LeftOperand& a, std::int64_t rows, const std::uint32_t* b, std::int64_t vectors,
              std::int64_t steps, const float* factor, float* c, std::int64_t stride) {
  for (std::int64_t v = 0; v < vectors; v += kBlockVectors)
    with_count<kBlockVectors>(vectors - v, [&](auto block_vectors) {
      const std::int64_t column = v * kLanes;
      const float* column_factor = kStore == Store::rescaled_add ? factor + column : factor;
      std::int64_t r = 0;
      const auto block = [&](auto block_rows) {
        multiply_block<Words, kStore, block_rows.value, block_vectors.value>(
            a.from_row(r), b + column, steps, column_factor, c + r * stride + column, stride);
      };
      for (; r + kBlockRows <= rows; r += kBlockRows) block(std::integral_constant<int, kBlockRows>{});
      if (r < rows) with_count<kBlockRows - 1>(rows - r, block);
    });
}

// --- layouts ---

// Rows of one head: [count, D], `stride` elements apart.
template <typename T>
struct Head {
  T* data;
  std::int64_t stride;

  Head from_row(std::int64_t row) const { return {data + row * stride, stride}; }
};

// to[r, w] = word w of row r, for rows [0, count); the last word of an odd row is filled with 0.
template <typename Words, typename T>
void copy_rows(const Head<const T>& from, std::int64_t count, std::int64_t width, std::uint32_t* to,
               std::int64_t to_stride) {
  for (std::int64_t r = 0; r < count; ++r, to += to_stride) {
    const T* row = from.data + r * from.stride;
    if constexpr (Words::kDepth == 1) {
      for_each_vector(0, width, [&](std::int64_t i, auto extent) {
        store(reinterpret_cast<float*>(to + i), load(row + i, extent), extent);
      });
    } else {
      if (width % 2) to[width / 2] = 0;
      std::memcpy(to, row, width * sizeof(T));
    }
  }
}

// to[s, i] = the values of column i in the rows of step s, as one word; columns up to to_stride and rows past
// `count` of the last step are 0.
template <typename Words, typename T>
void interleave_rows(const Head<const T>& from, std::int64_t count, std::int64_t width, std::uint32_t* to,
                     std::int64_t to_stride) {
  const auto load_bits = [](const auto* values, auto extent) {  // bf16 in the lower half
    return to_bits(load(values, extent)) >> 16;
  };
  for (std::int64_t r = 0; r < count; r += Words::kDepth, to += to_stride) {
    const T* row = from.data + r * from.stride;
    for_each_vector(0, width, [&](std::int64_t i, auto extent) {
      UIntVector words;
      if constexpr (Words::kDepth == 1)
        words = to_bits(load(row + i, extent));
      else
        words = load_bits(row + i, extent) |
                (r + 1 < count ? to_bits(load(row + from.stride + i, extent)) : UIntVector{});
      std::memcpy(to + i, &words, sizeof words);
    });
  }
}

// to[column, row] = from[row, column] for whole blocks of kLanes x kLanes that cover [rows, columns].
inline void transpose_words(const std::uint32_t* from, std::int64_t from_stride, std::int64_t rows,
                            std::int64_t columns, std::uint32_t* to, std::int64_t to_stride) {
  UIntVector lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  for (std::int64_t r = 0; r < rows; r += kLanes)
    for (std::int64_t c = 0; c < columns; c += kLanes) {
      UIntVector block[kLanes];
      for (int i = 0; i < kLanes; ++i)
        std::memcpy(&block[i], from + (r + i) * from_stride + c, sizeof block[i]);
        // Exchanges the off-diagonal quarters of all squares of size 2 width.
#pragma GCC unroll 4
      for (int width = 1; width < kLanes; width *= 2) {
        const UIntVector upper = (lane & width) != 0 ? lane + (kLanes - width) : lane;
        const UIntVector lower = (lane & width) != 0 ? lane + kLanes : lane + width;
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) {
          if (i & width) continue;
          const UIntVector a = block[i], b = block[i + width];
          block[i] = __builtin_shuffle(a, b, upper);
          block[i + width] = __builtin_shuffle(a, b, lower);
        }
      }
      for (int i = 0; i < kLanes; ++i) std::memcpy(to + (c + i) * to_stride + r, &block[i], sizeof block[i]);
    }
}

// Whether the rows of a head can be read as words where they lie.
template <typename Words, typename T>
bool rows_are_words(std::int64_t width) {
  return sizeof(T) * Words::kDepth == 4 && width % Words::kDepth == 0;
}

// A head's rows as left operand (k along the row), read in place if possible, else copied to `room`
// [count, steps_of(width)].
template <typename Words, typename T>
LeftOperand rows_operand(const Head<const T>& head, std::int64_t count, std::int64_t width,
                         std::uint32_t* room) {
  if (rows_are_words<Words, T>(width))
    return {reinterpret_cast<const std::byte*>(head.data), head.stride * static_cast<std::int64_t>(sizeof(T)),
            4};
  const std::int64_t steps = steps_of<Words>(width);
  copy_rows<Words>(head, count, width, room, steps);
  return left_operand(room, steps, 1);
}

// A head's columns as left operand (k along the rows, row i of the operand is column i). Always copied, to
// `room` [steps_of(count), round_up(width, kLanes)]: the rows of a packed projection lie so far apart that a
// column of them would sit in a few sets of the cache.
template <typename Words, typename T>
LeftOperand columns_operand(const Head<const T>& head, std::int64_t count, std::int64_t width,
                            std::uint32_t* room) {
  const std::int64_t stride = round_up(width, kLanes);
  interleave_rows<Words>(head, count, width, room, stride);
  return left_operand(room, 1, stride);
}

}  // namespace heddle::cpu
