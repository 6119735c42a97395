#include "kernels/reference/matmul.h"

#include <gtest/gtest.h>

#include <cstring>

#include "guarded_tensor.h"
#include "kernels/cpu/ceiling.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/error.h"
#include "kernels/reference/activation.h"

namespace heddle::test {
namespace {

constexpr int kThreads = 2;

struct Case {
  std::int64_t M, N, K;
  DType input = DType::f32, output = DType::f32;
  bool transpose_a = false, transpose_b = false;
  bool bias = false, accumulate = false, pre_activation = false, row_invariant = false;
  Activation activation = Activation::none;
  std::int64_t gap = 0;

  std::string text() const {
    return fmt::format("[{}, {}] x [{}, {}] {} -> {} ta{} tb{} bias{} acc{} pre{} inv{} {} gap {}", M, K, K,
                       N, name_of(input), name_of(output), transpose_a, transpose_b, bias, accumulate,
                       pre_activation, row_invariant, name_of(activation), gap);
  }
};

// The operands of a case, in poisoned memory.
struct Operands {
  explicit Operands(const Case& c, std::uint64_t seed = 1)
      : a(GuardedTensor::with_gap(c.input, c.transpose_a ? c.K : c.M, c.transpose_a ? c.M : c.K, c.gap)),
        b(GuardedTensor::with_gap(c.input, c.transpose_b ? c.N : c.K, c.transpose_b ? c.K : c.N, c.gap)),
        bias(c.input, {c.N}),
        c(c.output, {c.M, c.N}),
        pre_activation(c.input, {c.M, c.N}) {
    a.fill_random(seed);
    b.fill_random(seed + 1);
    bias.fill_random(seed + 2);
    if (c.accumulate) this->c.fill_random(seed + 3);
    call.a = a.tensor();
    call.b = b.tensor();
    call.c = this->c.tensor();
    call.transpose_a = c.transpose_a;
    call.transpose_b = c.transpose_b;
    call.accumulate = c.accumulate;
    if (c.bias) call.bias = bias.tensor();
    call.activation = c.activation;
    if (c.pre_activation) call.pre_activation = pre_activation.tensor();
    call.row_invariant = c.row_invariant;
  }
  Operands(const Operands&) = delete;

  GuardedTensor a, b, bias, c, pre_activation;
  Matmul call;
};

template <typename Real>
reference::MatmulResult<Real> expected(const Case& c, const Operands& o) {
  const auto bias = c.bias ? o.bias.values<Real>() : reference::Array<Real>();
  return reference::matmul(o.a.values<Real>(), o.b.values<Real>(), c.transpose_a, c.transpose_b, bias,
                           c.activation);
}

void check(CpuOps& ops, const Case& c, std::uint64_t seed = 1) {
  Operands o(c, seed);
  auto exact = expected<double>(c, o);
  auto naive = expected<float>(c, o);
  if (c.accumulate) {
    const auto before = o.c.values<double>();
    for (std::int64_t i = 0; i < before.count(); ++i) {
      exact.c.values[i] += before.values[i];
      naive.c.values[i] += static_cast<float>(before.values[i]);
    }
  }
  ops.matmul(o.call);
  if (c.pre_activation) {
    expect_close(o.pre_activation, exact.pre_activation, naive.pre_activation, c.text() + " pre_activation");
    // What the activation reads is what was stored.
    const auto stored = o.pre_activation.values<double>();
    for (std::int64_t i = 0; i < stored.count(); ++i) {
      exact.c.values[i] = reference::activate(c.activation, stored.values[i]);
      naive.c.values[i] = reference::activate(c.activation, static_cast<float>(stored.values[i]));
    }
  }
  expect_close(o.c, exact.c, naive.c, c.text());
}

TEST(Matmul, MatchesTheReferenceForOddShapes) {
  CpuOps ops(kThreads);
  const std::int64_t shapes[][3] = {{1, 1, 1},    {1, 7, 3},    {7, 1, 5},    {5, 9, 1},
                                    {17, 33, 65}, {64, 64, 64}, {3, 130, 2},  {31, 47, 19},
                                    {2, 257, 96}, {129, 5, 77}, {50, 1, 300}, {1, 300, 129}};
  for (const auto& [M, N, K] : shapes)
    for (DType input : {DType::f32, DType::bf16})
      for (DType output : {DType::f32, DType::bf16})
        for (int flags = 0; flags < 16; ++flags) {
          if (input == DType::f32 && output == DType::bf16) continue;
          Case c{M, N, K, input, output};
          c.transpose_a = flags & 1;
          c.transpose_b = flags & 2;
          c.row_invariant = flags & 4;
          c.gap = flags & 8 ? 3 : 0;
          check(ops, c);
          c.bias = true;
          check(ops, c);
        }
}

// Large enough for operands to be copied into oneDNN's layout first; twice, to meet the prepared product
// again.
TEST(Matmul, MatchesTheReferenceWhereOperandsAreRearranged) {
  CpuOps ops(kThreads);
  for (DType input : {DType::f32, DType::bf16})
    for (std::uint64_t seed : {1, 2}) {
      Case forward{801, 67, 70, input, input};
      forward.bias = true;
      forward.gap = 2;
      check(ops, forward, seed);
      forward.transpose_b = true;
      check(ops, forward, seed);
      Case weight_gradient{65, 1031, 99, input, DType::f32};
      weight_gradient.transpose_a = weight_gradient.accumulate = true;
      weight_gradient.gap = 1;
      check(ops, weight_gradient, seed);
      weight_gradient.M = 770;
      check(ops, weight_gradient, seed);
    }
}

TEST(Matmul, Accumulates) {
  CpuOps ops(kThreads);
  for (DType input : {DType::f32, DType::bf16})
    for (bool row_invariant : {false, true})
      for (int transposes = 0; transposes < 4; ++transposes) {
        Case c{33, 65, 40, input, DType::f32};
        c.transpose_a = transposes & 1;
        c.transpose_b = transposes & 2;
        c.accumulate = true;
        c.row_invariant = row_invariant;
        check(ops, c);
      }
}

TEST(Matmul, AppliesActivations) {
  CpuOps ops(kThreads);
  for (Activation activation :
       {Activation::none, Activation::relu, Activation::gelu_tanh, Activation::gelu_erf, Activation::silu})
    for (DType input : {DType::f32, DType::bf16})
      for (DType output : {DType::f32, DType::bf16})
        for (int flags = 0; flags < 8; ++flags) {
          if (input == DType::f32 && output == DType::bf16) continue;
          Case c{13, 70, 24, input, output};
          c.activation = activation;
          c.bias = flags & 1;
          c.pre_activation = flags & 2;
          c.row_invariant = flags & 4;
          check(ops, c);
        }
}

TEST(Matmul, TakesEmptyDimensions) {
  CpuOps ops(kThreads);
  for (DType dtype : {DType::f32, DType::bf16})
    for (bool row_invariant : {false, true})
      for (int flags = 0; flags < 8; ++flags) {
        for (const auto& [M, N, K] :
             {std::array<std::int64_t, 3>{0, 5, 4}, {5, 0, 4}, {5, 4, 0}, {0, 0, 0}}) {
          Case c{M, N, K, dtype, dtype};
          c.transpose_a = flags & 1;
          c.transpose_b = flags & 2;
          c.bias = flags & 4;
          c.row_invariant = row_invariant;
          check(ops, c);
        }
      }
  Case accumulate{5, 4, 0};
  accumulate.accumulate = true;
  check(ops, accumulate);
}

TEST(Matmul, GivesTheSameBitsAgain) {
  for (DType input : {DType::f32, DType::bf16}) {
    Case c{800, 1030, 300, input, DType::f32};
    c.transpose_a = true;
    Operands first(c), second(c);
    CpuOps ops(kThreads);
    ops.matmul(first.call);
    ops.matmul(second.call);
    EXPECT_EQ(first.c.bytes(), second.c.bytes()) << c.text();
  }
}

TEST(Matmul, RowInvariantRowsDependOnThemselvesAlone) {
  const std::int64_t rows = 45;
  for (DType input : {DType::f32, DType::bf16})
    for (DType output : {DType::f32, DType::bf16})
      for (bool transpose_b : {false, true})
        for (const auto& [N, K] : {std::pair<int, int>{70, 65}, {2100, 33}, {5, 130}}) {
          if (input == DType::f32 && output == DType::bf16) continue;
          Case c{rows, N, K, input, output};
          c.transpose_b = transpose_b;
          c.bias = c.row_invariant = true;
          c.activation = Activation::gelu_tanh;
          Operands all(c);
          CpuOps(1).matmul(all.call);
          CpuOps ops(3);
          for (std::int64_t count : {1, 2, 3, 4, 5, 8, 9, 17})
            for (std::int64_t begin : {std::int64_t{0}, std::int64_t{6}, rows - count}) {
              Operands part(c);
              part.call.a = part.a.tensor().slice(0, begin, begin + count);
              part.call.c = part.c.tensor().slice(0, begin, begin + count);
              ops.matmul(part.call);
              const Tensor of_all = all.c.tensor().slice(0, begin, begin + count);
              EXPECT_EQ(std::memcmp(part.call.c.data, of_all.data, of_all.bytes()), 0)
                  << c.text() << " rows " << begin << " + " << count;
            }
        }
}

TEST(Matmul, NamesAShapeThatDoesNotFit) {
  CpuOps ops(1);
  Operands o(Case{4, 5, 6});
  o.call.transpose_a = true;
  try {
    ops.matmul(o.call);
    FAIL() << "took a shape that does not fit";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("matmul"), std::string::npos) << e.what();
  }
}

TEST(BiasGradient, AddsTheSumOfRows) {
  for (DType dtype : {DType::f32, DType::bf16})
    for (const auto& [rows, width] :
         {std::pair<int, int>{1, 1}, {5, 7}, {1000, 300}, {3000, 129}, {0, 4}, {70, 5}}) {
      GuardedTensor dy(dtype, {rows, width}), dbias(DType::f32, {width});
      dy.fill_random(1);
      dbias.fill_random(2);
      auto exact = reference::bias_gradient(dy.values<double>());
      auto naive = reference::bias_gradient(dy.values<float>());
      for (int i = 0; i < width; ++i) {
        exact(i) += dbias.values<double>()(i);
        naive(i) += dbias.values<float>()(i);
      }
      GuardedTensor single = dbias;
      CpuOps(3).bias_gradient(dy.tensor(), dbias.tensor());
      expect_close(dbias, exact, naive, fmt::format("bias gradient of [{}, {}]", rows, width));
      CpuOps(1).bias_gradient(dy.tensor(), single.tensor());
      EXPECT_EQ(dbias.bytes(), single.bytes()) << "depends on the number of threads";
    }
}

TEST(MatmulCeiling, IsAPlausibleRate) {
  for (DType dtype : {DType::f32, DType::bf16}) EXPECT_GT(measure_matmul_flops(dtype, 1, 0), 1e8);
}

}  // namespace
}  // namespace heddle::test
