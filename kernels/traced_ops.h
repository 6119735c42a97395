// Operations that are passed on to a backend, each as one span of a Trace.
#pragma once

#include "kernels/matmul_passes.h"
#include "kernels/ops.h"
#include "kernels/trace.h"

namespace heddle {

class TracedOps final : public Ops {
 public:
  TracedOps(Ops& ops, Trace& trace) : ops_(ops), trace_(trace) {}

  void matmul(const Matmul& m) override {
    const Span span(trace_, "matmul", has_second_pass(m) ? "matmul with a backward" : "matmul");
    ops_.matmul(m);
  }
  std::size_t matmul_workspace(const Matmul& m) override { return ops_.matmul_workspace(m); }
  void parameters_changed() override { ops_.parameters_changed(); }
  void bias_gradient(const Tensor& dy, const Tensor& dbias) override {
    const Span span(trace_, "matmul", "bias_gradient");
    ops_.bias_gradient(dy, dbias);
  }
  void activation_forward(Activation kind, const Tensor& x, const Tensor& y) override {
    const Span span(trace_, "activation", "activation_forward");
    ops_.activation_forward(kind, x, y);
  }
  void activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) override {
    const Span span(trace_, "activation", "activation_backward");
    ops_.activation_backward(kind, x, dy, dx);
  }
  void gated_forward(Activation kind, const Tensor& x, const Tensor& y) override {
    const Span span(trace_, "activation", "gated_forward");
    ops_.gated_forward(kind, x, y);
  }
  void gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx) override {
    const Span span(trace_, "activation", "gated_backward");
    ops_.gated_backward(kind, x, dy, dx);
  }
  void fill(const Tensor& x, float value) override {
    const Span span(trace_, "elementwise", "fill");
    ops_.fill(x, value);
  }
  void copy(const Tensor& from, const Tensor& to) override {
    const Span span(trace_, "elementwise", "copy");
    ops_.copy(from, to);
  }
  void add(const Tensor& a, const Tensor& b, const Tensor& out) override {
    const Span span(trace_, "elementwise", "add");
    ops_.add(a, b, out);
  }
  void scale(const Tensor& x, float factor, const Tensor& out) override {
    const Span span(trace_, "elementwise", "scale");
    ops_.scale(x, factor, out);
  }
  void dropout(const Tensor& x, const Dropout& dropout, const Tensor& y) override {
    const Span span(trace_, "dropout", "dropout");
    ops_.dropout(x, dropout, y);
  }
  void bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                             const Dropout& dropout, const Tensor& out) override {
    const Span span(trace_, "dropout", "bias_dropout_residual");
    ops_.bias_dropout_residual(x, bias, residual, dropout, out);
  }
  void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                      const Tensor& dbias) override {
    const Span span(trace_, "dropout", "bias_dropout_residual_backward");
    ops_.bias_dropout_residual_backward(dout, dropout, dx, dbias);
  }
  void layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                          const Tensor& y, const Tensor& mean, const Tensor& rstd) override {
    const Span span(trace_, "norm", "layer_norm_forward");
    ops_.layer_norm_forward(x, weight, bias, epsilon, y, mean, rstd);
  }
  void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                           const Tensor& rstd, bool accumulate, const Tensor& dx, const Tensor& dweight,
                           const Tensor& dbias) override {
    const Span span(trace_, "norm", "layer_norm_backward");
    ops_.layer_norm_backward(dy, x, weight, mean, rstd, accumulate, dx, dweight, dbias);
  }
  void rms_norm_forward(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
                        const Tensor& rstd) override {
    const Span span(trace_, "norm", "rms_norm_forward");
    ops_.rms_norm_forward(x, weight, epsilon, y, rstd);
  }
  void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                         bool accumulate, const Tensor& dx, const Tensor& dweight) override {
    const Span span(trace_, "norm", "rms_norm_backward");
    ops_.rms_norm_backward(dy, x, weight, rstd, accumulate, dx, dweight);
  }
  void residual_norm_forward(const ResidualNorm& r) override {
    const Span span(trace_, "norm", "residual_norm_forward");
    ops_.residual_norm_forward(r);
  }
  void rope(const Rope& r) override {
    const Span span(trace_, "rope", "rope");
    ops_.rope(r);
  }
  void embedding_forward(const Tensor& ids, const Tensor& table, std::int64_t first_row, bool accumulate,
                         const Tensor& out) override {
    const Span span(trace_, "embedding", "embedding_forward");
    ops_.embedding_forward(ids, table, first_row, accumulate, out);
  }
  void embedding_backward(const Tensor& ids, const Tensor& dout, std::int64_t first_row,
                          const Tensor& dtable) override {
    const Span span(trace_, "embedding", "embedding_backward");
    ops_.embedding_backward(ids, dout, first_row, dtable);
  }
  void attention_forward(const Attention& a) override {
    const Span span(trace_, "attention", "attention_forward");
    ops_.attention_forward(a);
  }
  void attention_backward(const Attention& a, const AttentionGradients& g) override {
    const Span span(trace_, "attention", "attention_backward");
    ops_.attention_backward(a, g);
  }
  std::int64_t attention_backward_scratch(std::int64_t batch, std::int64_t query_length,
                                          std::int64_t key_length, std::int64_t num_heads,
                                          std::int64_t head_size) override {
    return ops_.attention_backward_scratch(batch, query_length, key_length, num_heads, head_size);
  }
  void cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics) override {
    const Span span(trace_, "cross_entropy", "cross_entropy_statistics");
    ops_.cross_entropy_statistics(c, statistics);
  }
  void cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                           const Tensor& log_sum_exp) override {
    const Span span(trace_, "cross_entropy", "cross_entropy_merge");
    ops_.cross_entropy_merge(c, all, loss, log_sum_exp);
  }
  void cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp, const float* scale) override {
    const Span span(trace_, "cross_entropy", "cross_entropy_backward");
    ops_.cross_entropy_backward(c, log_sum_exp, scale);
  }
  void adamw(const AdamW& a) override {
    const Span span(trace_, "optimizer", "adamw");
    ops_.adamw(a);
  }
  void round_stochastically(const StochasticRounding& r) override {
    const Span span(trace_, "optimizer", "round_stochastically");
    ops_.round_stochastically(r);
  }
  void squared_norm(const Tensor& x, const Spans& spans, double* sum) override {
    const Span span(trace_, "optimizer", "squared_norm");
    ops_.squared_norm(x, spans, sum);
  }
  void clip_scale(const double* sum, const double* loss, float max_norm, AdamWStep* step,
                  std::uint32_t* stopped) override {
    const Span span(trace_, "optimizer", "clip_scale");
    ops_.clip_scale(sum, loss, max_norm, step, stopped);
  }
  void sum(const Tensor& x, double* total) override {
    const Span span(trace_, "optimizer", "sum");
    ops_.sum(x, total);
  }

 private:
  struct Span {
    Span(Trace& trace, const char* family, const char* name) : trace(trace) { trace.begin(family, name); }
    ~Span() { trace.end(); }
    Trace& trace;
  };

  Ops& ops_;
  Trace& trace_;
};

}  // namespace heddle
