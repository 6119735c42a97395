// Wrong shapes and types are refused with the operation's name and the shapes, before anything is touched.
#include "kernels/checks.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "kernels/error.h"

namespace heddle {
namespace {

Tensor f32(Shape shape) {
  return Tensor(nullptr, DType::f32, shape);
}
Tensor bf16(Shape shape) {
  return Tensor(nullptr, DType::bf16, shape);
}
Tensor i32(Shape shape) {
  return Tensor(nullptr, DType::i32, shape);
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

#define EXPECT_REFUSED(operation, call) EXPECT_EQ(message_of([&] { call; }).find(operation ": "), 0u) << #call
#define EXPECT_TAKEN(call) EXPECT_EQ(message_of([&] { call; }), "")

TEST(Checks, MessageNamesOperationAndShapes) {
  const std::string message = message_of([] { checks::add(f32({2, 3}), f32({2, 3}), f32({3, 2})); });
  EXPECT_EQ(message,
            "add: needs a, b and out of one type, f32 or bf16, and one shape, got a f32 [2, 3], b f32 [2, "
            "3], out f32 "
            "[3, 2]");
}

TEST(Checks, Matmul) {
  Matmul m;
  m.a = bf16({4, 3});
  m.b = bf16({3, 5});
  m.c = bf16({4, 5});
  EXPECT_TAKEN(checks::matmul(m));
  m.c = f32({4, 5});
  EXPECT_TAKEN(checks::matmul(m));
  m.accumulate = true;
  EXPECT_TAKEN(checks::matmul(m));
  m.bias = bf16({5});
  EXPECT_REFUSED("matmul", checks::matmul(m));
  m.accumulate = false;
  EXPECT_TAKEN(checks::matmul(m));
  m.transpose_b = true;
  EXPECT_REFUSED("matmul", checks::matmul(m));
  m.b = bf16({5, 3});
  EXPECT_TAKEN(checks::matmul(m));
  m.b = f32({5, 3});
  EXPECT_REFUSED("matmul", checks::matmul(m));
  m.b = i32({5, 3});
  EXPECT_REFUSED("matmul", checks::matmul(m));
}

TEST(Checks, PointwiseFamilies) {
  EXPECT_TAKEN(checks::gated_forward(Activation::silu, f32({2, 6}), f32({2, 3})));
  EXPECT_REFUSED("gated_forward", checks::gated_forward(Activation::silu, f32({2, 5}), f32({2, 3})));
  EXPECT_REFUSED("activation_forward",
                 checks::activation_forward(Activation::relu, f32({2, 5}), bf16({2, 5})));
  EXPECT_TAKEN(checks::copy(f32({2, 5}), bf16({2, 5})));
  EXPECT_REFUSED("copy", checks::copy(f32({2, 5}), i32({2, 5})));
  EXPECT_REFUSED("fill", checks::fill(i32({2, 5})));
  EXPECT_REFUSED("add", checks::add(f32({4, 4}).slice(1, 0, 2), f32({4, 2}), f32({4, 2})));
}

TEST(Checks, Norm) {
  const Tensor x = bf16({4, 8}), weight = bf16({8}), row = f32({4});
  EXPECT_TAKEN(checks::layer_norm_forward(x, weight, {}, x, row, row));
  EXPECT_TAKEN(checks::layer_norm_forward(x, weight, weight, x, {}, {}));
  EXPECT_REFUSED("layer_norm_forward", checks::layer_norm_forward(x, f32({8}), {}, x, row, row));
  EXPECT_REFUSED("layer_norm_forward", checks::layer_norm_forward(x, weight, {}, x, f32({8}), row));
  EXPECT_REFUSED("layer_norm_backward", checks::layer_norm_backward(x, x, weight, row, row, x, weight, {}));
  EXPECT_TAKEN(checks::rms_norm_backward(x, x, weight, row, x, f32({8})));
  EXPECT_REFUSED("rms_norm_backward", checks::rms_norm_backward(x, x, weight, {}, x, f32({8})));
}

TEST(Checks, ResidualNorm) {
  ResidualNorm r;
  r.x = r.residual = r.out = r.y = bf16({2, 3, 8});
  r.norm_weight = r.norm_bias = bf16({8});
  r.mean = r.rstd = f32({6});
  EXPECT_TAKEN(checks::residual_norm_forward(r));
  r.rms = true;
  EXPECT_REFUSED("residual_norm_forward", checks::residual_norm_forward(r));
  r.norm_bias = r.mean = {};
  EXPECT_TAKEN(checks::residual_norm_forward(r));
  r.rstd = f32({2, 3});
  EXPECT_REFUSED("residual_norm_forward", checks::residual_norm_forward(r));
  r.rstd = {};
  r.y = bf16({6, 8});
  EXPECT_REFUSED("residual_norm_forward", checks::residual_norm_forward(r));
}

TEST(Checks, Rope) {
  Rope r{bf16({2, 3, 4, 64}), i32({6}), 64};
  EXPECT_TAKEN(checks::rope(r));
  for (std::int64_t size : {0, 31, 66, -2}) {
    r.rotary_size = size;
    EXPECT_REFUSED("rope", checks::rope(r));
  }
  r.rotary_size = 32;
  r.positions = i32({5});
  EXPECT_REFUSED("rope", checks::rope(r));
  r = {bf16({2, 3, 4, 512}), i32({6}), 258};
  EXPECT_REFUSED("rope", checks::rope(r));
}

TEST(Checks, EmbeddingAndCrossEntropy) {
  EXPECT_TAKEN(checks::embedding_forward(i32({4}), bf16({10, 8}), bf16({4, 8})));
  EXPECT_REFUSED("embedding_forward", checks::embedding_forward(f32({4}), bf16({10, 8}), bf16({4, 8})));
  EXPECT_REFUSED("embedding_backward", checks::embedding_backward(i32({4}), bf16({4, 8}), bf16({10, 8})));

  CrossEntropy c;
  c.logits = f32({4, 10});
  c.targets = i32({4});
  c.valid_columns = c.vocabulary = 10;
  EXPECT_TAKEN(checks::cross_entropy_statistics(c, f32({4, 4})));
  EXPECT_REFUSED("cross_entropy_statistics", checks::cross_entropy_statistics(c, f32({4, 3})));
  c.valid_columns = 11;
  EXPECT_REFUSED("cross_entropy_backward", checks::cross_entropy_backward(c, f32({4})));
  c.valid_columns = 5;
  c.first_column = 6;
  EXPECT_REFUSED("cross_entropy_backward", checks::cross_entropy_backward(c, f32({4})));
  c.first_column = 5;
  EXPECT_TAKEN(checks::cross_entropy_backward(c, f32({4})));
  c.label_smoothing = 1;
  EXPECT_REFUSED("cross_entropy_backward", checks::cross_entropy_backward(c, f32({4})));
}

TEST(Checks, Attention) {
  Attention a;
  a.q = a.o = f32({2, 5, 4, 8});
  a.k = a.v = f32({2, 7, 2, 8});
  a.log_sum_exp = f32({2, 4, 5});
  EXPECT_TAKEN(checks::attention_forward(a));
  EXPECT_TAKEN(checks::attention_backward(a, {a.o, a.q, a.k, a.v, f32({40})}, 40));
  EXPECT_REFUSED("attention_backward", checks::attention_backward(a, {a.o, a.q, a.k, a.v, f32({39})}, 40));
  EXPECT_REFUSED("attention_backward", checks::attention_backward(a, {a.o, a.q, a.q, a.v, f32({40})}, 40));
  a.k = a.v = f32({2, 7, 3, 8});
  EXPECT_REFUSED("attention_forward", checks::attention_forward(a));
  a.k = a.v = f32({2, 7, 2, 9});
  EXPECT_REFUSED("attention_forward", checks::attention_forward(a));
}

TEST(Checks, MatmulOfABackward) {
  Matmul m;
  m.a = bf16({4, 6}), m.b = bf16({6, 8}), m.c = bf16({4, 8});
  m.activation_backward = true;
  EXPECT_REFUSED("matmul", checks::matmul(m));
  m.pre_activation = bf16({4, 8});
  EXPECT_TAKEN(checks::matmul(m));
  m.bias = bf16({8});
  EXPECT_REFUSED("matmul", checks::matmul(m));
  m.bias = {};
  m.c = f32({4, 8});
  EXPECT_REFUSED("matmul", checks::matmul(m));
  m.activation_backward = false;
  m.pre_activation = {};
  m.b_sums = f32({8});
  EXPECT_TAKEN(checks::matmul(m));
  m.b_sums = f32({6});
  EXPECT_REFUSED("matmul", checks::matmul(m));
  m.b_sums = {};
  m.a_sums = f32({4});
  EXPECT_REFUSED("matmul", checks::matmul(m));
  m.a = bf16({6, 4});
  m.transpose_a = true;
  EXPECT_TAKEN(checks::matmul(m));
  m.b_sums = f32({8});
  EXPECT_REFUSED("matmul", checks::matmul(m));
}

TEST(Checks, Optimizer) {
  AdamW a{f32({9}), f32({9}), f32({9}), f32({9}), bf16({9})};
  EXPECT_TAKEN(checks::adamw(a));
  a.moment2 = f32({8});
  EXPECT_REFUSED("adamw", checks::adamw(a));
  const GlobalPlace place{0, 9, 0, 0, 1};
  EXPECT_TAKEN(checks::round_stochastically({f32({9}), bf16({9}), &place, 1}));
  EXPECT_REFUSED("round_stochastically", checks::round_stochastically({f32({9}), bf16({8}), &place, 1}));
  EXPECT_REFUSED("round_stochastically", checks::round_stochastically({f32({9}), f32({9}), &place, 1}));
  EXPECT_REFUSED("round_stochastically", checks::round_stochastically({f32({9}), bf16({9}), &place, 0}));
  EXPECT_REFUSED("squared_norm", checks::squared_norm(bf16({4})));
  EXPECT_REFUSED("sum", checks::sum(f32({2, 2})));
}

}  // namespace
}  // namespace heddle
