// The family "activation": one pass over memory each, bound by it. Elements of act moved per element of y:
// forward 2 (1 read, 1 write), backward 3 (2, 1), gated forward 3 (2, 1), gated backward 5 (3, 2). On an H200
// in bf16 a streaming multiprocessor has about 6 instructions for each byte that memory brings; the costliest
// function here, GELU by erf, takes about 25 per element.
#include "kernels/checks.h"
#include "kernels/cuda/activation_math.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/map.h"

namespace heddle {

using namespace cuda;

namespace {

template <typename T>
__global__ void activation_forward_kernel(Activation kind, const T* x, T* y, std::int64_t count, bool packs) {
  with_activation(kind, [&](auto function) {
    for_each_pack<T>(count, packs, [&](std::int64_t i, auto width) {
      float v[width];
      load_elements(x + i, v);
#pragma unroll
      for (float& element : v) element = function.template at<T>(element).value;
      store_elements(y + i, v);
    });
  });
}

template <typename T>
__global__ void activation_backward_kernel(Activation kind, const T* x, const T* dy, T* dx,
                                           std::int64_t count, bool packs) {
  with_activation(kind, [&](auto function) {
    for_each_pack<T>(count, packs, [&](std::int64_t i, auto width) {
      float v[width], d[width];
      load_elements(x + i, v);
      load_elements(dy + i, d);
#pragma unroll
      for (int k = 0; k < width; ++k) d[k] *= function.template at<T>(v[k]).slope;
      store_elements(dx + i, d);
    });
  });
}

// body(row, column, Width<N>{}) for each N columns of a matrix.
template <typename T, typename Body>
__device__ __forceinline__ void for_each_pack_of_rows(std::int64_t rows, std::int64_t columns, bool packs,
                                                      Body body) {
  const auto over = [&](auto width) {
    const std::uint64_t pieces = columns / width;  // unsigned: divided as 32-bit numbers where they are small
    for_each_index(rows * static_cast<std::int64_t>(pieces), [&](std::int64_t i) {
      const std::uint64_t row = static_cast<std::uint64_t>(i) / pieces;
      body(static_cast<std::int64_t>(row), static_cast<std::int64_t>(i - row * pieces) * width, width);
    });
  };
  if (packs)
    over(Width<kPack<T>>{});
  else
    over(Width<1>{});
}

// x [N, 2C] = gate | up, y [N, C].
template <typename T>
__global__ void gated_forward_kernel(Activation kind, const T* x, T* y, std::int64_t rows,
                                     std::int64_t columns, bool packs) {
  with_activation(kind, [&](auto function) {
    for_each_pack_of_rows<T>(rows, columns, packs, [&](std::int64_t row, std::int64_t column, auto width) {
      const T* gate_and_up = x + row * 2 * columns + column;
      float gate[width], up[width];
      load_elements(gate_and_up, gate);
      load_elements(gate_and_up + columns, up);
#pragma unroll
      for (int k = 0; k < width; ++k) up[k] *= function.template at<T>(gate[k]).value;
      store_elements(y + row * columns + column, up);
    });
  });
}

template <typename T>
__global__ void gated_backward_kernel(Activation kind, const T* x, const T* dy, T* dx, std::int64_t rows,
                                      std::int64_t columns, bool packs) {
  with_activation(kind, [&](auto function) {
    for_each_pack_of_rows<T>(rows, columns, packs, [&](std::int64_t row, std::int64_t column, auto width) {
      const std::int64_t at = row * 2 * columns + column;
      float gate[width], up[width], d[width];
      load_elements(x + at, gate);
      load_elements(x + at + columns, up);
      load_elements(dy + row * columns + column, d);
#pragma unroll
      for (int k = 0; k < width; ++k) {
        const ValueAndSlope a = function.template at<T>(gate[k]);
        gate[k] = d[k] * up[k] * a.slope;
        up[k] = d[k] * a.value;
      }
      store_elements(dx + at, gate);
      store_elements(dx + at + columns, up);
    });
  });
}

}  // namespace

void CudaOps::activation_forward(Activation kind, const Tensor& x, const Tensor& y) {
  checks::activation_forward(kind, x, y);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool packs = all_packs_fit<T>(x.data, y.data);
    launch<&activation_forward_kernel<T>>(map_shape<T>(x.count(), packs, gpu_), stream_, kind, x.as<T>(),
                                          y.as<T>(), x.count(), packs);
  });
}

void CudaOps::activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  checks::activation_backward(kind, x, dy, dx);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool packs = all_packs_fit<T>(x.data, dy.data, dx.data);
    launch<&activation_backward_kernel<T>>(map_shape<T>(x.count(), packs, gpu_), stream_, kind, x.as<T>(),
                                           dy.as<T>(), dx.as<T>(), x.count(), packs);
  });
}

void CudaOps::gated_forward(Activation kind, const Tensor& x, const Tensor& y) {
  checks::gated_forward(kind, x, y);
  const std::int64_t rows = y.size(0), columns = y.size(1);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool packs = all_packs_fit<T>(x.data, y.data) && columns % kPack<T> == 0;
    launch<&gated_forward_kernel<T>>(map_shape<T>(y.count(), packs, gpu_), stream_, kind, x.as<T>(),
                                     y.as<T>(), rows, columns, packs);
  });
}

void CudaOps::gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) {
  checks::gated_backward(kind, x, dy, dx);
  const std::int64_t rows = dy.size(0), columns = dy.size(1);
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const bool packs = all_packs_fit<T>(x.data, dy.data, dx.data) && columns % kPack<T> == 0;
    launch<&gated_backward_kernel<T>>(map_shape<T>(dy.count(), packs, gpu_), stream_, kind, x.as<T>(),
                                      dy.as<T>(), dx.as<T>(), rows, columns, packs);
  });
}

}  // namespace heddle
