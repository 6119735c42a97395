// The family "dropout". The mask is made anew wherever it is needed; nothing is stored. Elements of act moved
// per element: dropout 2 (1 read, 1 write), bias_dropout_residual 3 (2, 1), its backward 2 (1, 1). Philox
// takes about 20 instructions per element, which on an H200 fit beside the memory's traffic.
#include "kernels/checks.h"
#include "kernels/cuda/bias_dropout_residual.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/map.h"

namespace heddle {

using namespace cuda;

namespace {

// A tensor as samples of so many elements each.
struct Samples {
  std::int64_t count, elements;
};

// body(sample, element, Width<N>{}): whole packs if `packs`, which every sample then begins with; else one by
// one.
template <typename T, typename Body>
__device__ __forceinline__ void for_each_of_samples(const Samples& samples, bool packs, Body body) {
  const auto over = [&](auto width) {
    const std::uint64_t pieces =
        samples.elements / width;  // unsigned: divided as 32-bit numbers where they are small
    for_each_index(samples.count * static_cast<std::int64_t>(pieces), [&](std::int64_t i) {
      const std::uint64_t sample = static_cast<std::uint64_t>(i) / pieces;
      body(static_cast<std::int64_t>(sample), static_cast<std::int64_t>(i - sample * pieces) * width, width);
    });
  };
  if (packs)
    over(Width<kPack<T>>{});
  else
    over(Width<1>{});
}

// Where an element of the tensor stands in rows of which the tensor holds a part of the columns.
struct Columns {
  std::uint64_t held = 0, all = 0, first = 0;  // held == 0: the tensor holds everything

  __device__ __forceinline__ std::uint64_t place(std::uint64_t element) const {
    return held == 0 ? element : element + element / held * (all - held) + first;
  }
};

template <typename T>
__global__ void dropout_kernel(const T* x, DropoutMask mask, T* y, Samples samples, Columns columns, bool packs) {
  for_each_of_samples<T>(samples, packs, [&](std::int64_t sample, std::int64_t element, auto width) {
    const std::int64_t at = sample * samples.elements + element;
    float v[width], factor[width];
    load_elements(x + at, v);
    mask.factors(sample, columns.place(static_cast<std::uint64_t>(element)), factor);
#pragma unroll
    for (int k = 0; k < width; ++k) v[k] *= factor[k];
    store_elements(y + at, v);
  });
}

template <typename T>
__global__ void bias_dropout_residual_kernel(BiasDropoutResidual<T> operands, Samples samples, bool packs) {
  for_each_of_samples<T>(samples, packs, [&](std::int64_t sample, std::int64_t element, auto width) {
    const std::uint64_t columns = operands.width;
    float out[width];
    operands.compute(sample, element,
                     static_cast<std::int64_t>(static_cast<std::uint64_t>(element) % columns),
                     sample * samples.elements + element, out);
    store_elements(operands.out + sample * samples.elements + element, out);
  });
}

// Rows of dout [B, T, C] with their mask; writes dx and gives it, not rounded, to be summed.
template <typename T>
struct DroppedRows {
  const T* dout;
  T* dx;
  DropoutMask mask;
  std::uint64_t length;  // rows of a sample
  std::int64_t width;

  template <int N>
  __device__ __forceinline__ void load(std::int64_t row, std::int64_t column, float (&d)[N]) const {
    const auto sample = static_cast<std::int64_t>(static_cast<std::uint64_t>(row) / length);
    const std::int64_t element = (row - sample * static_cast<std::int64_t>(length)) * width + column;
    float factor[N];
    load_elements(dout + row * width + column, d);
    mask.factors(sample, element, factor);
#pragma unroll
    for (int k = 0; k < N; ++k) d[k] *= factor[k];
    store_elements(dx + row * width + column, d);
  }
};

template <typename T>
void launch_dropout(const Tensor& x, const Dropout& dropout, const Tensor& y, const GpuFacts& gpu,
                    cudaStream_t stream) {
  const Samples samples{x.size(0), x.count() / x.size(0)};
  Columns columns;
  if (dropout.columns != 0)
    columns = {static_cast<std::uint64_t>(x.size(-1)), static_cast<std::uint64_t>(dropout.columns),
               static_cast<std::uint64_t>(dropout.first_column)};
  const bool packs = all_packs_fit<T>(x.data, y.data) && samples.elements % kPack<T> == 0 &&
                     (columns.held | columns.all | columns.first) % kPack<T> == 0;
  launch<&dropout_kernel<T>>(map_shape<T>(x.count(), packs, gpu), stream, x.as<T>(), DropoutMask(dropout),
                             y.as<T>(), samples, columns, packs);
}

}  // namespace

void CudaOps::dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) {
  checks::dropout(x, dropout, y);
  if (x.count() == 0) return;
  with_act_type(x.dtype, [&](auto type) { launch_dropout<decltype(type)>(x, dropout, y, gpu_, stream_); });
}

void CudaOps::bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                                    const Dropout& dropout, const Tensor& out) {
  checks::bias_dropout_residual(x, bias, residual, dropout, out);
  const Samples samples{x.size(0), x.size(1) * x.size(2)};
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    const BiasDropoutResidual<T> operands(x, bias, residual, dropout, out);
    const bool packs = operands.packs_fit();
    launch<&bias_dropout_residual_kernel<T>>(map_shape<T>(x.count(), packs, gpu_), stream_, operands, samples,
                                             packs);
  });
}

void CudaOps::bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                             const Tensor& dbias) {
  checks::bias_dropout_residual_backward(dout, dropout, dx, dbias);
  if (dout.count() == 0) return;
  const std::int64_t rows = dout.size(0) * dout.size(1), width = dout.size(2);
  const auto work_space = [&](std::size_t bytes) { return scratch(bytes, "bias_dropout_residual_backward"); };
  with_act_type(dout.dtype, [&](auto type) {
    using T = decltype(type);
    if (!dbias) return launch_dropout<T>(dout, dropout, dx, gpu_, stream_);
    const DroppedRows<T> source{dout.as<T>(), dx.as<T>(), DropoutMask(dropout),
                                static_cast<std::uint64_t>(dout.size(1)), width};
    if (packs_fit<T>(dout.data, width) && packs_fit<T>(dx.data, width))
      sum_columns<kPack<T>>(source, rows, width, dbias.as<float>(), gpu_, stream_, work_space);
    else
      sum_columns<1>(source, rows, width, dbias.as<float>(), gpu_, stream_, work_space);
  });
}

}  // namespace heddle
