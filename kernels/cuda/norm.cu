// The family "norm", forward; the backward is in norm_backward.cu. Layer norm and RMS norm are one kernel:
// RMS norm is layer norm whose mean is 0.
//
// Bound by memory. Elements of act moved per element: 2 (x read, y written); residual_norm_forward 4 (x,
// residual read, out, y written), where the two operations it stands for move 5. A row is read once and stays
// in registers for both passes of the variance: up to 4 packs of 16 bytes per thread, in flight together.
// Rows up to 2 KiB take a warp, four to a block (C <= 1024 in bf16: 768); up to 8 KiB 128 threads (1600,
// 4096); wider ones 512 (12288), which read what exceeds 32 KiB of a row again from global memory. At 50 to
// 70 registers about 1024 threads run on each multiprocessor with up to 64 KiB of loads in flight; at 94
// (residual_norm_forward in bf16) about 640, with two loads for each element. An H200 needs about 25 KiB.
#include "kernels/checks.h"
#include "kernels/cuda/bias_dropout_residual.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/map.h"
#include "kernels/cuda/reduce.h"

namespace heddle {

using namespace cuda;

namespace {

constexpr int kPieces = 4;  // of a row that a thread keeps in registers, N elements each

// Rows that lie in memory.
template <typename T>
struct StoredRows {
  const T* x;
  std::int64_t width;

  // `load` is called once for each element, `load_again` later by the same thread.
  template <int N>
  __device__ __forceinline__ void load(std::int64_t row, std::int64_t column, float (&v)[N]) const {
    load_elements(x + row * width + column, v);
  }
  template <int N>
  __device__ __forceinline__ void load_again(std::int64_t row, std::int64_t column, float (&v)[N]) const {
    load(row, column, v);
  }
};

// Rows of out = residual + dropout(x + bias), which are computed, rounded and stored as they are loaded.
template <typename T>
struct ResidualRows {
  BiasDropoutResidual<T> operands;
  std::uint64_t length;  // rows of a sample

  template <int N>
  __device__ __forceinline__ void load(std::int64_t row, std::int64_t column, float (&v)[N]) const {
    const auto sample = static_cast<std::int64_t>(static_cast<std::uint64_t>(row) / length);
    const std::int64_t at = row * operands.width + column;
    operands.compute(sample, at - sample * static_cast<std::int64_t>(length) * operands.width, column, at, v);
#pragma unroll
    for (float& element : v) element = to_float(from_float<T>(element));
    store_elements(operands.out + at, v);
  }
  template <int N>
  __device__ __forceinline__ void load_again(std::int64_t row, std::int64_t column, float (&v)[N]) const {
    load_elements(operands.out + row * operands.width + column, v);
  }
};

template <typename T>
struct NormForward {
  const T *weight, *bias;  // bias: null for none
  T* y;
  float *mean, *rstd;  // null: not wanted
  std::int64_t rows, width;
  float epsilon;
  bool centered;  // layer norm
};

struct RowParts {
  float part[32];  // a warp each
};

// The sum over the `Threads` threads of a row.
template <int Threads>
__device__ __forceinline__ float row_sum(float x) {
  if constexpr (Threads == kWarpSize)
    return warp_sum(x);
  else
    return block_sum<Threads>(x, shared_memory<RowParts>().part);
}

// A row's pieces of N elements as one thread has them: the first kPieces in registers, later ones in memory.
template <int N, int Threads, typename Source>
struct RowPieces {
  const Source& source;
  std::int64_t row, width, first;  // first: this thread's first element
  float x[kPieces][N];

  // All loads of the registers before any value is used. body(v) for each piece.
  template <typename Body>
  __device__ __forceinline__ void load(Body body) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
      if (column(p) < width) source.load(row, column(p), x[p]);
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
      if (column(p) < width) body(x[p]);
    for (std::int64_t c = column(kPieces); c < width; c += Threads * N) {
      float v[N];
      source.load(row, c, v);
      body(v);
    }
  }

  // body(column, v) for each piece, after load().
  template <typename Body>
  __device__ __forceinline__ void for_each(Body body) const {
#pragma unroll
    for (int p = 0; p < kPieces; ++p)
      if (column(p) < width) body(column(p), x[p]);
    for (std::int64_t c = column(kPieces); c < width; c += Threads * N) {
      float v[N];
      source.load_again(row, c, v);
      body(c, v);
    }
  }

  __device__ __forceinline__ std::int64_t column(int piece) const {
    return first + piece * Threads * N;
  }
};

constexpr int block_of(int threads_of_a_row) {
  return threads_of_a_row < 128 ? 128 : threads_of_a_row;
}

// y = (x - mean) rstd weight + bias, by `Threads` threads a row and N elements at a time.
template <typename T, int N, int Threads, typename Source>
__global__ void __launch_bounds__(block_of(Threads)) norm_forward_kernel(Source source, NormForward<T> norm) {
  constexpr int kRows = block_of(Threads) / Threads;
  const int thread = threadIdx.x % Threads;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRows + threadIdx.x / Threads;
  if (row >= norm.rows) return;  // whole warps, in blocks without barriers
  RowPieces<N, Threads, Source> pieces{source, row, norm.width, static_cast<std::int64_t>(thread) * N, {}};

  float sum = 0;
  pieces.load([&](const float(&v)[N]) {
#pragma unroll
    for (float element : v) sum += element;
  });
  const float mean = norm.centered ? row_sum<Threads>(sum) / static_cast<float>(norm.width) : 0.0f;

  // Squares of differences from the mean: mean(x^2) - mean^2 would cancel.
  float squares = 0;
  pieces.for_each([&](std::int64_t, const float(&v)[N]) {
#pragma unroll
    for (float element : v) squares = fmaf(element - mean, element - mean, squares);
  });
  const float variance = row_sum<Threads>(squares) / static_cast<float>(norm.width);
  const float rstd = 1.0f / sqrtf(variance + norm.epsilon);

  pieces.for_each([&](std::int64_t column, const float(&v)[N]) {
    float weight[N], y[N] = {};
    load_elements(norm.weight + column, weight);
    if (norm.bias) load_elements(norm.bias + column, y);
#pragma unroll
    for (int i = 0; i < N; ++i) y[i] = fmaf((v[i] - mean) * rstd, weight[i], y[i]);
    store_elements(norm.y + row * norm.width + column, y);
  });
  if (thread == 0) {
    if (norm.mean) norm.mean[row] = mean;
    if (norm.rstd) norm.rstd[row] = rstd;
  }
}

template <int N, int Threads, typename T, typename Source>
void launch_rows(const Source& source, const NormForward<T>& norm, cudaStream_t stream) {
  launch<&norm_forward_kernel<T, N, Threads, Source>>(
      {blocks_for(norm.rows, block_of(Threads) / Threads), block_of(Threads),
       Threads > kWarpSize ? sizeof(RowParts) : 0},
      stream, source, norm);
}

template <typename T, typename Source>
void launch_norm_forward(const Source& source, const NormForward<T>& norm, bool packs, cudaStream_t stream) {
  constexpr int N = kPack<T>;
  if (!packs || !all_packs_fit<T>(norm.weight, norm.bias, norm.y))
    launch_rows<1, 128>(source, norm, stream);
  else if (norm.width <= 32 * kPieces * N)
    launch_rows<N, 32>(source, norm, stream);
  else if (norm.width <= 128 * kPieces * N)
    launch_rows<N, 128>(source, norm, stream);
  else
    launch_rows<N, 512>(source, norm, stream);
}

template <typename T>
T* data_or_null(const Tensor& t) {
  return t ? t.as<T>() : nullptr;
}

template <typename T>
NormForward<T> operands_of(const Tensor& weight, const Tensor& bias, float epsilon, bool centered,
                           const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  const std::int64_t width = y.size(-1);
  return {weight.as<T>(),
          data_or_null<T>(bias),
          y.as<T>(),
          data_or_null<float>(mean),
          data_or_null<float>(rstd),
          y.count() / width,
          width,
          epsilon,
          centered};
}

void norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon, bool centered,
                  const Tensor& y, const Tensor& mean, const Tensor& rstd, cudaStream_t stream) {
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    launch_norm_forward(StoredRows<T>{x.as<T>(), x.size(1)},
                        operands_of<T>(weight, bias, epsilon, centered, y, mean, rstd),
                        packs_fit<T>(x.data, x.size(1)), stream);
  });
}

}  // namespace

void CudaOps::layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                                 const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  checks::layer_norm_forward(x, weight, bias, y, mean, rstd);
  norm_forward(x, weight, bias, epsilon, /*centered=*/true, y, mean, rstd, stream_);
}

void CudaOps::rms_norm_forward(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
                               const Tensor& rstd) {
  checks::rms_norm_forward(x, weight, y, rstd);
  norm_forward(x, weight, {}, epsilon, /*centered=*/false, y, {}, rstd, stream_);
}

void CudaOps::residual_norm_forward(const ResidualNorm& r) {
  checks::residual_norm_forward(r);
  with_act_type(r.x.dtype, [&](auto type) {
    using T = decltype(type);
    const BiasDropoutResidual<T> operands(r.x, r.bias, r.residual, r.dropout, r.out);
    launch_norm_forward(ResidualRows<T>{operands, static_cast<std::uint64_t>(r.x.size(1))},
                        operands_of<T>(r.norm_weight, r.norm_bias, r.epsilon, !r.rms, r.y, r.mean, r.rstd),
                        operands.packs_fit(), stream_);
  });
}

}  // namespace heddle
