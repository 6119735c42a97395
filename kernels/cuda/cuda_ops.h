// The CUDA backend's operations: one file per family beside this one, each with its kernels and the methods of its
// group, which check shapes, choose the launch and return at once. No method allocates, synchronises or reads device
// memory, so all of them can be captured in a graph.
//
// Reductions add their parts in a fixed order and nothing uses floating-point atomics: the same inputs give the same
// bits.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>

#include "kernels/ops.h"

namespace heddle {

namespace cuda {

// What the launches need to know of the GPU.
struct GpuFacts {
  int multiprocessors = 1;
  int compute_capability = 80;              // 80, 90, ...
  std::size_t shared_memory_per_block = 0;  // the most that a kernel may ask for
};

class Matmuls;  // cuBLASLt descriptors and algorithms by shape (matmul.cpp)

}  // namespace cuda

class CudaOps final : public Ops {
 public:
  static constexpr std::size_t kScratchBytes = std::size_t{64} << 20;

  // Operations are queued on `stream`, which outlives this; `scratch` holds kScratchBytes.
  CudaOps(cudaStream_t stream, const cuda::GpuFacts& gpu, Memory scratch);  // matmul.cpp
  ~CudaOps() override;                                                      // matmul.cpp
  CudaOps(const CudaOps&) = delete;
  CudaOps& operator=(const CudaOps&) = delete;

  // Whether the first use of a shape times several of cuBLASLt's algorithms, on the operands that it is given, and
  // keeps the fastest, and times whether what a backward adds to a product is faster in its pass or apart; off: the
  // algorithm that cuBLASLt's heuristic prefers, and apart. A race may end differently in another run or on another
  // rank, and the algorithm decides the last bits of a product: with it, neither do runs repeat bit by bit nor do ranks
  // that compute the same product (what tensor parallelism does not split) agree on its last bits. Shapes that are
  // first used while a graph is captured are not timed. For benchmarks and single-rank runs.
  void set_autotune(bool autotune);

  // --- matmul.cpp (cuBLASLt) and row_invariant_matmul.cu ---
  void matmul(const Matmul& m) override;
  std::size_t matmul_workspace(const Matmul& m) override;
  void parameters_changed() override;
  void bias_gradient(const Tensor& dy, const Tensor& dbias) override;

  // --- activation.cu ---
  void activation_forward(Activation kind, const Tensor& x, const Tensor& y) override;
  void activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) override;
  void gated_forward(Activation kind, const Tensor& x, const Tensor& y) override;
  void gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) override;

  // --- elementwise.cu ---
  void fill(const Tensor& x, float value) override;
  void copy(const Tensor& from, const Tensor& to) override;
  void add(const Tensor& a, const Tensor& b, const Tensor& out) override;
  void scale(const Tensor& x, float factor, const Tensor& out) override;

  // --- dropout.cu ---
  void dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) override;
  void bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                             const Dropout& dropout, const Tensor& out) override;
  void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                      const Tensor& dbias) override;

  // --- norm.cu and norm_backward.cu ---
  void layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                          const Tensor& y, const Tensor& mean, const Tensor& rstd) override;
  void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                           const Tensor& rstd, bool accumulate, const Tensor& dx, const Tensor& dweight,
                           const Tensor& dbias) override;
  void rms_norm_forward(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
                        const Tensor& rstd) override;
  void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                         bool accumulate, const Tensor& dx, const Tensor& dweight) override;

  void residual_norm_forward(const ResidualNorm& r) override;

  // --- rope.cu ---
  void rope(const Rope& r) override;

  // --- embedding.cu ---
  void embedding_forward(const Tensor& ids, const Tensor& table, std::int64_t first_row, bool accumulate,
                         const Tensor& out) override;
  void embedding_backward(const Tensor& ids, const Tensor& dout, std::int64_t first_row,
                          const Tensor& dtable) override;

  // --- attention.cu ---
  void attention_forward(const Attention& a) override;
  void attention_backward(const Attention& a, const AttentionGradients& g) override;
  std::int64_t attention_backward_scratch(std::int64_t batch, std::int64_t query_length,
                                          std::int64_t key_length, std::int64_t num_heads,
                                          std::int64_t head_size) override;

  // --- cross_entropy.cu ---
  void cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) override;
  void cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                           const Tensor& log_sum_exp) override;
  void cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp, const float* scale) override;

  // --- optimizer.cu ---
  void adamw(const AdamW& a) override;
  void squared_norm(const Tensor& x, const Spans& spans, double* sum) override;
  void clip_scale(const double* sum, const double* loss, float max_norm, AdamWStep* step,
                  std::uint32_t* stopped) override;
  void sum(const Tensor& x, double* total) override;

  // --- stochastic_rounding.cu ---
  void round_stochastically(const StochasticRounding& r) override;

 private:
  // --- matmul.cpp: products that are checked ---
  void multiply(const Matmul& m);              // nothing of a backward added
  bool multiply_in_one_pass(const Matmul& m);  // false, and nothing is queued, where cuBLASLt cannot
  bool one_pass_is_faster(const Matmul& m);    // as far as it may be found out now

  // Partial results of the operation that runs: the next one may overwrite them, which the stream's order allows.
  // 256-byte aligned. Throws Error naming the operation if it needs more than kScratchBytes; an operation therefore
  // splits its work into as many parts as fit.
  void* scratch(std::size_t bytes, const char* operation);

  cudaStream_t stream_;
  cuda::GpuFacts gpu_;
  Memory scratch_;
  std::unique_ptr<cuda::Matmuls> matmuls_;
};

}  // namespace heddle
