// What every backend checks before it computes: the shapes, types and strides that ops.h promises, one
// function per operation. Each throws Error naming the operation, what it needs and the tensors it was given.
#pragma once

#include <initializer_list>

#include "kernels/ops.h"

namespace heddle::checks {

struct NamedTensor {
  const char* name;
  const Tensor& tensor;
};

// Unless `condition`: throws "<operation>: needs <requirement>, got x f32 [2, 3], y bf16 [2, 3]". Tensors of
// rank 0 are optional ones that were not given and are left out of the message.
void check_shape(const char* operation, bool condition, const char* requirement,
                 std::initializer_list<NamedTensor> tensors);

void copy_on_device(const Tensor& from, const Tensor& to);  // Device's

void matmul(const Matmul& m);
void bias_gradient(const Tensor& dy, const Tensor& dbias);

void activation_forward(Activation kind, const Tensor& x, const Tensor& y);
void activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx);
void gated_forward(Activation kind, const Tensor& x, const Tensor& y);
void gated_backward(Activation kind, const Tensor& x, const Tensor& dy, const Tensor& dx);

void fill(const Tensor& x);
void copy(const Tensor& from, const Tensor& to);
void add(const Tensor& a, const Tensor& b, const Tensor& out);
void scale(const Tensor& x, const Tensor& out);

void dropout(const Tensor& x, const Dropout& dropout, const Tensor& y);
void bias_dropout_residual(const Tensor& x, const Tensor& bias, const Tensor& residual,
                           const Dropout& dropout, const Tensor& out);
void bias_dropout_residual_backward(const Tensor& dout, const Dropout& dropout, const Tensor& dx,
                                    const Tensor& dbias);

void layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y,
                        const Tensor& mean, const Tensor& rstd);
void layer_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& mean,
                         const Tensor& rstd, const Tensor& dx, const Tensor& dweight, const Tensor& dbias);
void rms_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& y, const Tensor& rstd);
void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& rstd,
                       const Tensor& dx, const Tensor& dweight);

void residual_norm_forward(const ResidualNorm& r);

void rope(const Rope& r);

void embedding_forward(const Tensor& ids, const Tensor& table, const Tensor& out);
void embedding_backward(const Tensor& ids, const Tensor& dout, const Tensor& dtable);

void attention_forward(const Attention& a);
// scratch_count: what attention_backward_scratch() gave for these shapes.
void attention_backward(const Attention& a, const AttentionGradients& g, std::int64_t scratch_count);

void cross_entropy_statistics(const CrossEntropy& c, const Tensor& statistics);
void cross_entropy_merge(const CrossEntropy& c, const Tensor& all, const Tensor& loss,
                         const Tensor& log_sum_exp);
void cross_entropy_backward(const CrossEntropy& c, const Tensor& log_sum_exp);

void adamw(const AdamW& a);
void round_stochastically(const StochasticRounding& r);
void squared_norm(const Tensor& x);
void sum(const Tensor& x);

}  // namespace heddle::checks
