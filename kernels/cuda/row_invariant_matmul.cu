#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/row_invariant_matmul.h"

namespace heddle::cuda {

namespace {

// Few rows are what matters (a token per sequence): b is read once, in 16-byte packs, and its bandwidth is
// the limit. Each element of c is a sum over K in an order that depends on nothing but K and the layout of b:
// 32 partial sums, each a chain of fused multiply-adds, which are then added in pairs or in order. More rows
// share what is read of b.
template <typename T>
struct Product {
  std::int64_t M, N, K;
  const T* a;  // element (m, k) at m a_row + k a_column
  std::int64_t a_row, a_column;
  const T* b;  // [K, N], or [N, K] if transposed, rows b_row apart
  std::int64_t b_row;
  bool a_packs, b_packs;  // may be read in packs
  const T* bias;          // or null
  void* c;                // [M, N]
  bool c_is_f32, accumulate;

  explicit Product(const Matmul& m)
      : M(m.c.size(0)),
        N(m.c.size(1)),
        K(m.b.size(m.transpose_b ? 1 : 0)),
        a(m.a.as<T>()),
        a_row(m.transpose_a ? 1 : m.a.stride[0]),
        a_column(m.transpose_a ? m.a.stride[0] : 1),
        b(m.b.as<T>()),
        b_row(m.b.stride[0]),
        a_packs(!m.transpose_a && K % kPack<T> == 0 && packs_fit<T>(a, M > 1 ? a_row : 0)),
        b_packs((!m.transpose_b || K % kPack<T> == 0) && packs_fit<T>(b, m.b.size(0) > 1 ? b_row : 0)),
        bias(m.bias ? m.bias.as<T>() : nullptr),
        c(m.c.data),
        c_is_f32(m.c.dtype == DType::f32),
        accumulate(m.accumulate) {}

  __device__ __forceinline__ void write(std::int64_t row, std::int64_t column, float sum) const {
    if (bias) sum += to_float(bias[column]);
    const std::int64_t at = row * N + column;
    if (!c_is_f32)
      static_cast<T*>(c)[at] = from_float<T>(sum);
    else if (accumulate)
      static_cast<float*>(c)[at] += sum;
    else
      static_cast<float*>(c)[at] = sum;
  }
};

// A pack at p; or its elements one by one, `stride` apart, of which the first `count` exist and the others
// are 0.
template <typename T>
__device__ __forceinline__ void load_elements(const T* p, bool is_pack, std::int64_t stride,
                                              std::int64_t count, float (&x)[kPack<T>]) {
  if (is_pack) return load_pack(p, x);
#pragma unroll
  for (int i = 0; i < kPack<T>; ++i) x[i] = i < count ? to_float(p[i * stride]) : 0.0f;
}

// --- b as [N, K]: a warp has kRows x kColumns elements of c; lane l sums packs l, l + 32, ... of K ---

constexpr int kDotRows = 4, kDotColumns = 4, kDotWarps = 4;

template <typename T, int kRows>
__global__ void __launch_bounds__(kDotWarps* kWarpSize) dot_kernel(Product<T> p) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.y) * kDotWarps + threadIdx.y) * kDotColumns;
  if (column >= p.N) return;
  float sums[kRows][kDotColumns] = {};
  for (std::int64_t k = threadIdx.x * kPack<T>; k < p.K; k += kWarpSize * kPack<T>) {
    float b[kDotColumns][kPack<T>];
#pragma unroll
    for (int c = 0; c < kDotColumns; ++c)
      load_elements(p.b + min(column + c, p.N - 1) * p.b_row + k, p.b_packs, 1, p.K - k, b[c]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float a[kPack<T>];
      load_elements(p.a + min(row + r, p.M - 1) * p.a_row + k * p.a_column, p.a_packs, p.a_column, p.K - k,
                    a);
#pragma unroll
      for (int c = 0; c < kDotColumns; ++c)
#pragma unroll
        for (int i = 0; i < kPack<T>; ++i) sums[r][c] = fmaf(a[i], b[c][i], sums[r][c]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int c = 0; c < kDotColumns; ++c) {
      const float sum = warp_sum(sums[r][c]);
      if (threadIdx.x == 0 && row + r < p.M && column + c < p.N) p.write(row + r, column + c, sum);
    }
}

// --- b as [K, N]: a block has kRows rows and 8 packs of columns of c; slice s of K is k = s, s + 32, ... ---

constexpr int kColumnThreads = 256, kColumnWarps = kColumnThreads / kWarpSize;
constexpr int kColumnRows = 8, kColumnPacks = 8;
constexpr int kSlices = kColumnThreads / kColumnPacks;
template <typename T>
constexpr int kBlockColumns = kColumnPacks* kPack<T>;

template <typename T, int kRows>
struct ColumnSums {
  float sums[kColumnWarps][kRows][kBlockColumns<T>];
};

template <typename T, int kRows>
__global__ void __launch_bounds__(kColumnThreads) column_kernel(Product<T> p) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  const std::int64_t block_column = static_cast<std::int64_t>(blockIdx.y) * kBlockColumns<T>;
  const int pack = static_cast<int>(threadIdx.x) % kColumnPacks;
  const std::int64_t column = block_column + pack * kPack<T>;
  const std::int64_t columns = p.N - column;  // of this thread that exist, or fewer than 1

  float sums[kRows][kPack<T>] = {};
  if (columns > 0) {
#pragma unroll 4
    for (std::int64_t k = threadIdx.x / kColumnPacks; k < p.K; k += kSlices) {
      float b[kPack<T>];
      load_elements(p.b + k * p.b_row + column, p.b_packs && columns >= kPack<T>, 1, columns, b);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float a = to_float(p.a[min(row + r, p.M - 1) * p.a_row + k * p.a_column]);
#pragma unroll
        for (int i = 0; i < kPack<T>; ++i) sums[r][i] = fmaf(a, b[i], sums[r][i]);
      }
    }
  }

  // The slices of a warp, then the warps in order.
  auto& shared = shared_memory<ColumnSums<T, kRows>>();
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int i = 0; i < kPack<T>; ++i) {
      float sum = sums[r][i];
#pragma unroll
      for (int offset = kColumnPacks; offset < kWarpSize; offset *= 2)
        sum += __shfl_xor_sync(kFullWarp, sum, offset);
      if (threadIdx.x % kWarpSize < kColumnPacks)
        shared.sums[threadIdx.x / kWarpSize][r][pack * kPack<T> + i] = sum;
    }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kBlockColumns<T>; i += kColumnThreads) {
    const int r = i / kBlockColumns<T>, c = i % kBlockColumns<T>;
    if (row + r >= p.M || block_column + c >= p.N) continue;
    float sum = shared.sums[0][r][c];
    for (int warp = 1; warp < kColumnWarps; ++warp) sum += shared.sums[warp][r][c];
    p.write(row + r, block_column + c, sum);
  }
}

template <typename T, int kRows>
void launch_dot(const Product<T>& p, cudaStream_t stream) {
  const dim3 grid(blocks_for(p.M, kRows), blocks_for(p.N, kDotWarps * kDotColumns));
  launch<&dot_kernel<T, kRows>>({grid, dim3(kWarpSize, kDotWarps)}, stream, p);
}

template <typename T, int kRows>
void launch_columns(const Product<T>& p, cudaStream_t stream) {
  const dim3 grid(blocks_for(p.M, kRows), blocks_for(p.N, kBlockColumns<T>));
  launch<&column_kernel<T, kRows>>({grid, dim3(kColumnThreads), sizeof(ColumnSums<T, kRows>)}, stream, p);
}

template <typename T>
void multiply(const Matmul& m, cudaStream_t stream) {
  const Product<T> p(m);
  if (m.transpose_b)
    p.M == 1 ? launch_dot<T, 1>(p, stream) : launch_dot<T, kDotRows>(p, stream);
  else
    p.M == 1 ? launch_columns<T, 1>(p, stream) : launch_columns<T, kColumnRows>(p, stream);
}

// --- bias ---

constexpr int kBiasThreads = 256, kBiasRows = 8;

template <typename T>
__global__ void __launch_bounds__(kBiasThreads)
    bias_kernel(const T* bias, float* c, std::int64_t rows, std::int64_t width) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.y) * kBiasThreads + threadIdx.x;
  if (column >= width) return;
  const float addend = to_float(bias[column]);
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kBiasRows,
                     end = min(rows, first + kBiasRows);
  for (std::int64_t row = first; row < end; ++row) c[row * width + column] += addend;
}

}  // namespace

void row_invariant_matmul(const Matmul& m, cudaStream_t stream) {
  with_act_type(m.a.dtype, [&](auto type) { multiply<decltype(type)>(m, stream); });
}

void add_bias(const Tensor& bias, const Tensor& c, cudaStream_t stream) {
  const std::int64_t rows = c.size(0), width = c.size(1);
  const LaunchShape shape{dim3(blocks_for(rows, kBiasRows), blocks_for(width, kBiasThreads)),
                          dim3(kBiasThreads)};
  with_act_type(bias.dtype, [&](auto type) {
    using T = decltype(type);
    launch<&bias_kernel<T>>(shape, stream, bias.as<T>(), c.as<float>(), rows, width);
  });
}

}  // namespace heddle::cuda
