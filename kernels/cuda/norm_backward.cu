// The family "norm", backward:  with n = (x - mean) rstd and g = dy weight
//   dx = rstd (g - mean(g) - n mean(g n)), where RMS norm has no mean(g);  dweight += dy n;  dbias += dy.
//
// Bound by memory. Elements of act moved per element: 3 (dy, x read, dx written), 4 if dx is added to. A
// fixed number of blocks takes the rows in turn, each thread the same columns of every row, so that it sums
// dweight and dbias in registers; the blocks' sums are added by add_partial_rows(). The next row is copied
// into shared memory while one is worked on, each thread its own columns, so loads are always in flight and
// need no registers:
//   C (bf16)      768    1600   4096   12288
//   threads, row   32     128    128     512     up to 2, 8 and 32 KiB per row
//   KiB in flight  74      38     98      72     per multiprocessor with dx added to; an H200 needs about 25
// Rows that are wider, not made of packs or too much for the GPU's shared memory are read from global memory
// twice, element by element, and their sums of columns are kept there too.
#include <algorithm>

#include "kernels/checks.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/map.h"
#include "kernels/cuda/reduce.h"

namespace heddle {

using namespace cuda;

namespace {

constexpr int kPieces = 4;  // packs of a row that a thread has at most
constexpr int kStages = 2;  // rows in shared memory: the one that is worked on and the next

template <typename T>
struct NormBackward {
  const T *dy, *x, *weight;
  const float *mean, *rstd;  // [rows]; mean: null for RMS norm
  T* dx;
  bool accumulate;
  float* partial;       // [blocks, stride]: dweight and, if wanted, dbias
  std::int64_t stride;  // width or 2 width
  std::int64_t rows, width;

  __device__ __forceinline__ bool wants_dbias() const { return stride > width; }
};

struct RowSums {
  float g, gn;
};

struct RowSumParts {
  float g[32], gn[32];  // a warp each
};

// Over the `Threads` threads of a row; all receive them.
template <int Threads>
__device__ __forceinline__ RowSums add_over_row(RowSums sums) {
  sums = {warp_sum(sums.g), warp_sum(sums.gn)};
  if constexpr (Threads == kWarpSize) return sums;
  auto& parts = shared_memory<RowSumParts>();
  const int warp = threadIdx.x / kWarpSize;
  if (threadIdx.x % kWarpSize == 0) {
    parts.g[warp] = sums.g;
    parts.gn[warp] = sums.gn;
  }
  __syncthreads();
  sums = {parts.g[0], parts.gn[0]};
#pragma unroll
  for (int w = 1; w < Threads / kWarpSize; ++w) sums = {sums.g + parts.g[w], sums.gn + parts.gn[w]};
  __syncthreads();
  return sums;
}

// What the elements of a row have in common.
struct RowConstants {
  float mean, rstd, mean_g, mean_gn;

  template <typename T>
  __device__ __forceinline__ RowConstants(const NormBackward<T>& norm, std::int64_t row)
      : mean(norm.mean ? norm.mean[row] : 0.0f), rstd(norm.rstd[row]), mean_g(0), mean_gn(0) {}

  __device__ __forceinline__ void set_means(const RowSums& sums, std::int64_t width, bool centered) {
    mean_g = centered ? sums.g / static_cast<float>(width) : 0.0f;
    mean_gn = sums.gn / static_cast<float>(width);
  }
  __device__ __forceinline__ float normed(float x) const { return (x - mean) * rstd; }
  __device__ __forceinline__ float dx(float g, float n) const { return rstd * fmaf(-n, mean_gn, g - mean_g); }
};

// --- rows of packs, through shared memory ---

constexpr int block_of(int threads_of_a_row) {
  return threads_of_a_row < 128 ? 128 : threads_of_a_row;
}
constexpr int most_blocks_per_multiprocessor(int threads_of_a_row) {
  return 512 / block_of(threads_of_a_row);
}

// This thread's packs of the rows of dy, x and (to be added to) dx that are in shared memory. No other thread
// touches them, so they need no barriers.
template <typename T, int Threads>
class Ring {
 public:
  enum Operand { kDy, kX, kDx };

  // Packs that a row takes, and bytes that a block takes in shared memory.
  static __host__ __device__ int slots(std::int64_t width) {
    return static_cast<int>((width / kPack<T> + Threads - 1) / Threads);
  }
  static std::size_t bytes(std::int64_t width, bool accumulate) {
    const int operands = accumulate ? 3 : 2, groups = block_of(Threads) / Threads;
    return sizeof(RowSumParts) + sizeof(uint4) * kStages * operands * slots(width) * Threads * groups;
  }
  static __device__ __forceinline__ unsigned char* memory() {
    return &shared_memory<unsigned char>() + sizeof(RowSumParts);
  }

  __device__ __forceinline__ explicit Ring(const NormBackward<T>& norm)
      : norm_(norm), slots_(slots(norm.width)), operands_(norm.accumulate ? 3 : 2) {
    const int group = threadIdx.x / Threads;
    mine_ = reinterpret_cast<uint4*>(memory()) + group * kStages * operands_ * slots_ * Threads +
            threadIdx.x % Threads;
  }

  // Starts the copies of a row into a stage; one group of copies whether there is such a row or not.
  __device__ __forceinline__ void fetch(std::int64_t row, int stage) const {
    if (row < norm_.rows) {
#pragma unroll
      for (int p = 0; p < kPieces; ++p) {
        const std::int64_t at = row * norm_.width + column(p);
        if (column(p) >= norm_.width) break;
        copy_async_16(pack(stage, kDy, p), norm_.dy + at);
        copy_async_16(pack(stage, kX, p), norm_.x + at);
        if (norm_.accumulate) copy_async_16(pack(stage, kDx, p), norm_.dx + at);
      }
    }
    commit_copies();
  }

  __device__ __forceinline__ void load(int stage, Operand operand, int piece, float (&x)[kPack<T>]) const {
    unpack<T>(*pack(stage, operand, piece), x);
  }

  __device__ __forceinline__ std::int64_t column(int piece) const {
    return static_cast<std::int64_t>(piece * Threads + threadIdx.x % Threads) * kPack<T>;
  }

 private:
  __device__ __forceinline__ uint4* pack(int stage, Operand operand, int piece) const {
    return mine_ + ((stage * operands_ + operand) * slots_ + piece) * Threads;
  }

  const NormBackward<T>& norm_;
  uint4* mine_;
  int slots_, operands_;
};

// A thread's sums of columns, over its rows.
template <int N>
struct ColumnSums {
  float dweight[kPieces][N] = {}, dbias[kPieces][N] = {};
};

// Sums of one row, whose terms of dweight and dbias are added to `sums`.
template <typename T, int Threads>
__device__ __forceinline__ RowSums sum_row(const Ring<T, Threads>& ring, int stage,
                                           const NormBackward<T>& norm, const RowConstants& row,
                                           ColumnSums<kPack<T>>& sums) {
  constexpr int N = kPack<T>;
  RowSums total{0, 0};
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    if (ring.column(p) >= norm.width) break;
    float dy[N], x[N], weight[N];
    ring.load(stage, ring.kDy, p, dy);
    ring.load(stage, ring.kX, p, x);
    load_pack(norm.weight + ring.column(p), weight);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float n = row.normed(x[i]), g = dy[i] * weight[i];
      total = {total.g + g, fmaf(g, n, total.gn)};
      sums.dweight[p][i] = fmaf(dy[i], n, sums.dweight[p][i]);
      sums.dbias[p][i] += dy[i];
    }
  }
  return total;
}

template <typename T, int Threads>
__device__ __forceinline__ void write_dx(const Ring<T, Threads>& ring, int stage, const NormBackward<T>& norm,
                                         std::int64_t index, const RowConstants& row) {
  constexpr int N = kPack<T>;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    if (ring.column(p) >= norm.width) break;
    float dy[N], x[N], weight[N];
    ring.load(stage, ring.kDy, p, dy);
    ring.load(stage, ring.kX, p, x);
    load_pack(norm.weight + ring.column(p), weight);
#pragma unroll
    for (int i = 0; i < N; ++i) dy[i] = row.dx(dy[i] * weight[i], row.normed(x[i]));
    if (norm.accumulate) {
      ring.load(stage, ring.kDx, p, x);
#pragma unroll
      for (int i = 0; i < N; ++i) dy[i] += x[i];
    }
    store_pack(norm.dx + index * norm.width + ring.column(p), dy);
  }
}

// The block's sums of columns into its row of `partial`: those of its groups of threads are added in their
// order. Shared memory is free when all threads have come.
template <typename T, int Threads>
__device__ __forceinline__ void write_column_sums(const Ring<T, Threads>& ring, const NormBackward<T>& norm,
                                                  ColumnSums<kPack<T>>& sums) {
  constexpr int N = kPack<T>, kGroups = block_of(Threads) / Threads;
  const int thread = threadIdx.x % Threads;
  float* earlier =
      reinterpret_cast<float*>(ring.memory());  // [kPieces, 2, N, Threads], as far as there are columns
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) / Threads != group) continue;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      if (ring.column(p) >= norm.width) break;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        float& dweight = earlier[((p * 2 + 0) * N + i) * Threads + thread];
        float& dbias = earlier[((p * 2 + 1) * N + i) * Threads + thread];
        if (group > 0) {
          sums.dweight[p][i] += dweight;
          sums.dbias[p][i] += dbias;
        }
        if (group < kGroups - 1) {
          dweight = sums.dweight[p][i];
          dbias = sums.dbias[p][i];
        }
      }
      if (group == kGroups - 1) {
        float* to = norm.partial + blockIdx.x * norm.stride + ring.column(p);
        store_elements(to, sums.dweight[p]);
        if (norm.wants_dbias()) store_elements(to + norm.width, sums.dbias[p]);
      }
    }
  }
}

template <typename T, int Threads>
__global__ void __launch_bounds__(block_of(Threads), most_blocks_per_multiprocessor(Threads))
    norm_backward_kernel(NormBackward<T> norm) {
  constexpr int kGroups = block_of(Threads) / Threads;
  const Ring<T, Threads> ring(norm);
  ColumnSums<kPack<T>> sums;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kGroups;
  std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kGroups + threadIdx.x / Threads;
  ring.fetch(row, 0);
  for (int stage = 0; row < norm.rows; row += step, stage = 1 - stage) {
    ring.fetch(row + step, 1 - stage);
    RowConstants constants(norm, row);
    wait_copies<1>();
    const RowSums total = add_over_row<Threads>(sum_row(ring, stage, norm, constants, sums));
    constants.set_means(total, norm.width, norm.mean != nullptr);
    write_dx(ring, stage, norm, row, constants);
  }
  write_column_sums(ring, norm, sums);
}

// --- any rows ---

constexpr int kDirectThreads = 256;

// A thread's column of the block's sums in global memory is touched by that thread alone.
template <typename T>
__global__ void __launch_bounds__(kDirectThreads) norm_backward_direct_kernel(NormBackward<T> norm) {
  float* dweight = norm.partial + blockIdx.x * norm.stride;
  float* dbias = dweight + norm.width;
  for (std::int64_t row = blockIdx.x; row < norm.rows; row += gridDim.x) {
    const bool first = row == blockIdx.x;
    RowConstants constants(norm, row);
    RowSums sums{0, 0};
    for (std::int64_t c = threadIdx.x; c < norm.width; c += kDirectThreads) {
      const float dy = to_float(norm.dy[row * norm.width + c]);
      const float n = constants.normed(to_float(norm.x[row * norm.width + c])),
                  g = dy * to_float(norm.weight[c]);
      sums = {sums.g + g, fmaf(g, n, sums.gn)};
      dweight[c] = first ? dy * n : fmaf(dy, n, dweight[c]);
      if (norm.wants_dbias()) dbias[c] = first ? dy : dbias[c] + dy;
    }
    constants.set_means(add_over_row<kDirectThreads>(sums), norm.width, norm.mean != nullptr);
    for (std::int64_t c = threadIdx.x; c < norm.width; c += kDirectThreads) {
      const std::int64_t at = row * norm.width + c;
      const float g = to_float(norm.dy[at]) * to_float(norm.weight[c]);
      float dx = constants.dx(g, constants.normed(to_float(norm.x[at])));
      if (norm.accumulate) dx += to_float(norm.dx[at]);
      norm.dx[at] = from_float<T>(dx);
    }
  }
}

// --- launches ---

// Runs the kernel that fits and returns the number of blocks, each of which has written a row of partial
// sums.
template <typename T>
class BackwardLaunch {
 public:
  BackwardLaunch(const NormBackward<T>& norm, const GpuFacts& gpu, cudaStream_t stream)
      : norm_(norm), gpu_(gpu), stream_(stream) {}

  template <typename Scratch>
  std::int64_t run(const Scratch& scratch) {
    const bool packs =
        norm_.width % kPack<T> == 0 && all_packs_fit<T>(norm_.dy, norm_.x, norm_.weight, norm_.dx);
    if (packs && fits<32>()) return run_ring<32>(scratch);
    if (packs && fits<128>()) return run_ring<128>(scratch);
    if (packs && fits<512>()) return run_ring<512>(scratch);
    const std::int64_t blocks = blocks_of(norm_.rows, 8, scratch);
    launch<&norm_backward_direct_kernel<T>>(
        {static_cast<unsigned>(blocks), kDirectThreads, sizeof(RowSumParts)}, stream_, norm_);
    return blocks;
  }

  const float* partial() const { return norm_.partial; }

 private:
  template <int Threads>
  bool fits() const {
    return Ring<T, Threads>::slots(norm_.width) <= kPieces &&
           Ring<T, Threads>::bytes(norm_.width, norm_.accumulate) <= gpu_.shared_memory_per_block;
  }

  template <int Threads, typename Scratch>
  std::int64_t run_ring(const Scratch& scratch) {
    const std::size_t bytes = Ring<T, Threads>::bytes(norm_.width, norm_.accumulate);
    const auto together = static_cast<std::int64_t>(gpu_.shared_memory_per_block / bytes);
    const std::int64_t blocks =
        blocks_of(blocks_for(norm_.rows, block_of(Threads) / Threads),
                  std::min<std::int64_t>(together, most_blocks_per_multiprocessor(Threads)), scratch);
    launch<&norm_backward_kernel<T, Threads>>({static_cast<unsigned>(blocks), block_of(Threads), bytes},
                                              stream_, norm_);
    return blocks;
  }

  // As many as run at once, unless there are fewer rows or the partial sums do not fit; and takes their
  // memory.
  template <typename Scratch>
  std::int64_t blocks_of(std::int64_t most, std::int64_t per_multiprocessor, const Scratch& scratch) {
    const std::int64_t row_bytes = norm_.stride * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t allowed = static_cast<std::int64_t>(CudaOps::kScratchBytes) / row_bytes;
    const std::int64_t blocks =
        std::max<std::int64_t>(std::min({most, per_multiprocessor * gpu_.multiprocessors, allowed}), 1);
    norm_.partial = static_cast<float*>(scratch(static_cast<std::size_t>(blocks * row_bytes)));
    return blocks;
  }

  NormBackward<T> norm_;
  const GpuFacts& gpu_;
  cudaStream_t stream_;
};

struct NormGradients {
  const Tensor &dx, &dweight, &dbias;
};

template <typename Scratch>
void norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                   const Tensor& rstd, bool accumulate, const NormGradients& gradients, const GpuFacts& gpu,
                   cudaStream_t stream, const Scratch& scratch) {
  const std::int64_t rows = x.size(0), width = x.size(1);
  if (rows == 0) return;
  float* dbias = gradients.dbias ? gradients.dbias.as<float>() : nullptr;
  const std::int64_t stride = dbias ? 2 * width : width;
  with_act_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    BackwardLaunch<T> launch(
        {dy.as<T>(), x.as<T>(), weight.as<T>(), mean ? mean.as<float>() : nullptr, rstd.as<float>(),
         gradients.dx.as<T>(), accumulate, nullptr, stride, rows, width},
        gpu, stream);
    const std::int64_t blocks = launch.run(scratch);
    add_partial_rows({launch.partial(), blocks, stride, width, {gradients.dweight.as<float>(), dbias}},
                     stream);
  });
}

}  // namespace

void CudaOps::layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                                  const Tensor& rstd, bool accumulate, const Tensor& dx,
                                  const Tensor& dweight, const Tensor& dbias) {
  checks::layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias);
  norm_backward(dy, x, weight, mean, rstd, accumulate, {dx, dweight, dbias}, gpu_, stream_,
                [&](std::size_t bytes) { return scratch(bytes, "layer_norm_backward"); });
}

void CudaOps::rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                                bool accumulate, const Tensor& dx, const Tensor& dweight) {
  checks::rms_norm_backward(dy, x, weight, rstd, dx, dweight);
  norm_backward(dy, x, weight, {}, rstd, accumulate, {dx, dweight, {}}, gpu_, stream_,
                [&](std::size_t bytes) { return scratch(bytes, "rms_norm_backward"); });
}

}  // namespace heddle
