// Host: the kernels' arguments from an Attention, and the choice of the tiles' head size.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/cuda/attention_arguments.h"
#include "kernels/cuda/pack.h"
#include "kernels/error.h"
#include "kernels/ops.h"

namespace heddle::cuda {

template <typename T>
Heads<T> heads_of(const Tensor& t) {
  return {t.as<std::remove_const_t<T>>(), t.stride[0], t.stride[1], t.stride[2]};
}

// May every row of a head be read in packs?
template <typename T>
bool packs_fit(const Tensor& t) {
  return packs_fit<T>(t.data, t.stride[0]) && packs_fit<T>(t.data, t.stride[1]) &&
         packs_fit<T>(t.data, t.stride[2]);
}

inline AttentionSizes sizes_of(const Attention& a) {
  const auto size = [](const Tensor& t, int dimension) { return static_cast<int>(t.size(dimension)); };
  return {size(a.q, 0), size(a.q, 1), size(a.k, 1), size(a.q, 2), size(a.k, 2), size(a.q, 2) / size(a.k, 2),
          size(a.q, 3)};
}

inline VisibilityRule visibility_of(const Attention& a) {
  const AttentionSizes s = sizes_of(a);
  return {s.keys, a.causal ? s.keys - s.queries : s.keys, a.key_lengths};
}

inline AttentionDropout dropout_of(const Attention& a) {
  return {a.dropout, a.first_head, static_cast<int>(a.q.size(1)), static_cast<int>(a.k.size(1))};
}

// What the shapes' common check (kernels/checks.h) allows and these kernels do not take.
inline void check_limits(const char* operation, const Attention& a) {
  constexpr std::int64_t kMost = std::int64_t{1} << 29;  // sums of positions fit in 32 bits
  const std::int64_t rows = a.q.size(0) * a.q.size(2) * (a.q.size(1) / 16 + a.k.size(1) / 16 + 2);
  if (a.q.size(1) > kMost || a.k.size(1) > kMost || rows > std::numeric_limits<std::int32_t>::max())
    throw error("{}: q {} and k {} are too large for CUDA", operation, a.q.shape.to_string(),
                a.k.shape.to_string());
  if (!(a.scale > 0)) throw error("{}: needs a scale above 0 on CUDA, got {}", operation, a.scale);
}

// Calls launch(std::integral_constant<int, D>) with the smallest tile for such heads.
template <typename T, typename Launch>
void with_tile_width(std::int64_t head_size, const Launch& launch) {
  if constexpr (sizeof(T) == 2) {
    if (head_size <= 32) return launch(std::integral_constant<int, 32>());
    if (head_size > 64 && head_size <= 96) return launch(std::integral_constant<int, 96>());
  }
  if (head_size <= 64) return launch(std::integral_constant<int, 64>());
  if (head_size <= 128) return launch(std::integral_constant<int, 128>());
  launch(std::integral_constant<int, 256>());
}

// Blocks of `rows` rows for every head of every batch entry.
inline unsigned attention_blocks(std::int64_t length, int rows, std::int64_t heads, std::int64_t batch) {
  return static_cast<unsigned>((length + rows - 1) / rows * heads * batch);
}

}  // namespace heddle::cuda
