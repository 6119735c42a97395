// out = residual + dropout(x + bias), for the kernels that compute it alone or before a norm with the same
// bits.
#pragma once

#include <cstdint>

#include "kernels/cuda/dropout_mask.h"
#include "kernels/cuda/map.h"
#include "kernels/tensor.h"

namespace heddle::cuda {

template <typename T>
struct BiasDropoutResidual {
  const T *x, *bias, *residual;  // bias: null for none
  T* out;
  std::int64_t width;  // C of [B, T, C]
  DropoutMask mask;

  BiasDropoutResidual(const Tensor& x, const Tensor& bias, const Tensor& residual, const Dropout& dropout,
                      const Tensor& out)
      : x(x.as<T>()),
        bias(bias ? bias.as<T>() : nullptr),
        residual(residual.as<T>()),
        out(out.as<T>()),
        width(x.size(2)),
        mask(dropout) {}

  // Host: may rows be taken in packs?
  bool packs_fit() const { return width % kPack<T> == 0 && all_packs_fit<T>(x, bias, residual, out); }

  // N elements from `element` of sample `sample`, which lie at `at` of the tensors and in `column` of their
  // row; not rounded. One at a time, a mask costs Philox's four words for each.
  template <int N>
  __device__ __forceinline__ void compute(std::int64_t sample, std::int64_t element, std::int64_t column,
                                          std::int64_t at, float (&result)[N]) const {
    float v[N], factor[N];
    load_elements(x + at, v);
    load_elements(residual + at, result);
    if (bias) {
      float shift[N];
      load_elements(bias + column, shift);
#pragma unroll
      for (int k = 0; k < N; ++k) v[k] += shift[k];
    }
    mask.factors(sample, element, factor);
#pragma unroll
    for (int k = 0; k < N; ++k) result[k] = fmaf(v[k], factor[k], result[k]);
  }
};

}  // namespace heddle::cuda
