// The CPU backend's operations: one file per family beside this one, each implementing the methods of its
// group.
//
// Work runs at once on the calling thread and an OpenMP team of a fixed size. Rows (or blocks of rows, whose
// number depends only on the shape) are dealt out statically and reductions add their parts in a fixed order,
// so the bits of a result depend on neither the number of threads nor on timing.
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/cpu/scratch.h"
#include "kernels/ops.h"

namespace heddle {

class CpuOps final : public Ops {
 public:
  // `threads` OpenMP threads, at least 1.
  explicit CpuOps(int threads);  // matmul.cpp, as it creates the state of matmul
  ~CpuOps() override;            // matmul.cpp
  CpuOps(const CpuOps&) = delete;
  CpuOps& operator=(const CpuOps&) = delete;

  int threads() const { return threads_; }

  // --- matmul.cpp ---
  void matmul(const Matmul& m) override;
  std::size_t matmul_workspace(const Matmul& m) override;
  void parameters_changed() override;
  void bias_gradient(const Tensor& dy, const Tensor& dbias) override;

  // --- activation.cpp ---
  void activation_forward(Activation kind, const Tensor& x, const Tensor& y) override;
  void activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) override;
  void gated_forward(Activation kind, const Tensor& x, const Tensor& y) override;
  void gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) override;

  // --- elementwise.cpp ---
  void fill(const Tensor& x, float value) override;
  void copy(const Tensor& from, const Tensor& to) override;
  void add(const Tensor& a, const Tensor& b, const Tensor& out) override;
  void scale(const Tensor& x, float factor, const Tensor& out) override;

  // --- dropout.cpp ---
  void dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) override;
  void bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                             const Dropout& dropout, const Tensor& out) override;
  void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                      const Tensor& dbias) override;

  // --- norm.cpp ---
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

  // --- rope.cpp ---
  void rope(const Rope& r) override;

  // --- embedding.cpp ---
  void embedding_forward(const Tensor& ids, const Tensor& table, std::int64_t first_row, bool accumulate,
                         const Tensor& out) override;
  void embedding_backward(const Tensor& ids, const Tensor& dout, std::int64_t first_row,
                          const Tensor& dtable) override;

  // --- attention.cpp ---
  void attention_forward(const Attention& a) override;
  void attention_backward(const Attention& a, const AttentionGradients& g) override;
  std::int64_t attention_backward_scratch(std::int64_t batch, std::int64_t query_length,
                                          std::int64_t key_length, std::int64_t num_heads,
                                          std::int64_t head_size) override;

  // --- cross_entropy.cpp ---
  void cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) override;
  void cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                           const Tensor& log_sum_exp) override;
  void cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp, const float* scale) override;

  // --- optimizer.cpp ---
  void adamw(const AdamW& a) override;
  void squared_norm(const Tensor& x, const Spans& spans, double* sum) override;
  void clip_scale(const double* sum, const double* loss, float max_norm, AdamWStep* step,
                  std::uint32_t* stopped) override;
  void sum(const Tensor& x, double* total) override;

  // --- stochastic_rounding.cpp ---
  void round_stochastically(const StochasticRounding& r) override;

 private:
  struct MatmulState;  // packed weights and oneDNN primitives; defined in matmul.cpp

  const int threads_;
  Scratch scratch_;  // one operation at a time uses it
  std::unique_ptr<MatmulState> matmul_;
};

// The operations on host memory with `threads` OpenMP threads (0: as many as this process may run on).
std::unique_ptr<Ops> make_cpu_ops(int threads);

}  // namespace heddle
