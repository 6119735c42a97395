// Elements that one thread moves at once: 16 bytes where rows allow it, else one.
#pragma once

#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/pack.h"
#include "kernels/tensor.h"

namespace heddle::cuda {

template <int kWidth, typename T>
__device__ __forceinline__ void load_piece(const T* p, float (&x)[kWidth]) {
  if constexpr (kWidth == 1)
    x[0] = to_float(*p);
  else
    load_pack(p, x);
}

template <int kWidth, typename T>
__device__ __forceinline__ void store_piece(T* p, const float (&x)[kWidth]) {
  if constexpr (kWidth == 1)
    *p = from_float<T>(x[0]);
  else
    store_pack(p, x);
}

// Host: a width as a type, for lambdas that choose a kernel.
template <int kWidth>
struct Width {
  static constexpr int value = kWidth;
};

// body(Width<kPack<T>>{}) or body(Width<1>{})
template <typename T, typename Body>
void with_width(bool packs, Body body) {
  if (packs)
    body(Width<kPack<T>>{});
  else
    body(Width<1>{});
}

// body(T{}, width) for an f32 or bf16 T.
template <typename Body>
void with_type_and_width(DType dtype, bool packs, Body body) {
  with_act_type(
      dtype, [&](auto type) { with_width<decltype(type)>(packs, [&](auto width) { body(type, width); }); });
}

}  // namespace heddle::cuda
