// Operations that compute nothing: they check the shapes as every backend does and count what would have run.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace heddle {

struct PlanCount {
  std::int64_t calls = 0;
  std::int64_t flops = 0;  // of matrix products: a multiply-add is two
  std::int64_t bytes = 0;  // each input read once, each output written once, an output added to both

  PlanCount& operator+=(const PlanCount& other) {
    calls += other.calls;
    flops += other.flops;
    bytes += other.bytes;
    return *this;
  }
};

// By the families of kernels/ops.h.
struct PlanTotals {
  PlanCount matmul;  // 2 M N K; bias gradients count bytes only
  PlanCount
      attention;  // 4 D per visible query-key pair and head forward, 2.5 times that (five products) backward
  PlanCount activation, elementwise, dropout, norm, rope, embedding, cross_entropy, optimizer;  // bytes only

  PlanCount all() const;
};

class PlanOps final : public Ops {
 public:
  // `planned`: operations of the backend whose work-space sizes count; null: the least that any needs.
  explicit PlanOps(Ops* planned) : planned_(planned) {}

  const PlanTotals& totals() const { return totals_; }
  void reset() { totals_ = {}; }
  // The most that a product so far takes on the planned backend.
  std::size_t largest_matmul_workspace() const { return largest_matmul_workspace_; }

  void matmul(const Matmul& m) override;
  std::size_t matmul_workspace(const Matmul& m) override { return planned_ ? planned_->matmul_workspace(m) : 0; }
  void parameters_changed() override {}
  void bias_gradient(const Tensor& dy, const Tensor& dbias) override;

  void activation_forward(Activation kind, const Tensor& x, const Tensor& y) override;
  void activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) override;
  void gated_forward(Activation kind, const Tensor& x, const Tensor& y) override;
  void gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) override;

  void fill(const Tensor& x, float value) override;
  void copy(const Tensor& from, const Tensor& to) override;
  void add(const Tensor& a, const Tensor& b, const Tensor& out) override;
  void scale(const Tensor& x, float factor, const Tensor& out) override;

  void dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) override;
  void bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                             const Dropout& dropout, const Tensor& out) override;
  void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                      const Tensor& dbias) override;

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

  void rope(const Rope& r) override;

  void embedding_forward(const Tensor& ids, const Tensor& table, std::int64_t first_row, bool accumulate,
                         const Tensor& out) override;
  void embedding_backward(const Tensor& ids, const Tensor& dout, std::int64_t first_row,
                          const Tensor& dtable) override;

  // Key lengths lie in device memory that does not exist: every batch entry counts with all its keys.
  void attention_forward(const Attention& a) override;
  void attention_backward(const Attention& a, const AttentionGradients& g) override;
  // One number per query and head, do . o, as a fused backward needs.
  std::int64_t attention_backward_scratch(std::int64_t batch, std::int64_t query_length,
                                          std::int64_t key_length, std::int64_t num_heads,
                                          std::int64_t head_size) override;

  void cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) override;
  void cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                           const Tensor& log_sum_exp) override;
  void cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp, const float* scale) override;

  void adamw(const AdamW& a) override;
  void round_stochastically(const StochasticRounding& r) override;
  void squared_norm(const Tensor& x, const Spans& spans, double* sum) override;
  void clip_scale(const double* sum, const double* loss, float max_norm, AdamWStep* step,
                  std::uint32_t* stopped) override;
  void sum(const Tensor& x, double* total) override;

 private:
  Ops* planned_;
  std::size_t largest_matmul_workspace_ = 0;
  PlanTotals totals_;
};

}  // namespace heddle
