#include "kernels/reference/matmul.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "kernels/error.h"
#include "kernels/reference/activation.h"
#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(MatmulTest);

struct Case {
  std::int64_t M, N, K;
  bool f32_output = false;
  bool transpose_a = false, transpose_b = false;
  bool bias = false, accumulate = false, pre_activation = false, row_invariant = false;
  Activation activation = Activation::none;
  std::int64_t gap = 0;  // elements between the rows of a and of b

  std::string text() const {
    std::string text = fmt::format("[{}, {}] x [{}, {}] {}", M, K, K, N, name_of(activation));
    const std::pair<bool, const char*> flags[] = {
        {f32_output, " -> f32"},     {transpose_a, " a^T"},
        {transpose_b, " b^T"},       {bias, " bias"},
        {accumulate, " accumulate"}, {gap > 0, " strided"},
        {pre_activation, " pre"},    {row_invariant, " row_invariant"}};
    for (const auto& [set, name] : flags)
      if (set) text += name;
    return text;
  }
};

// A matrix whose rows lie `gap` NaNs apart.
struct StridedMatrix {
  StridedMatrix(Device& device, DType dtype, const Array<double>& values, std::int64_t gap)
      : memory(device, dtype, spread(values, gap)), tensor(memory.tensor().slice(1, 0, values.size(1))) {}

  template <typename Real>
  Array<Real> values() const {
    const Array<Real> all = memory.values<Real>();
    Array<Real> values(tensor.shape);
    for (std::int64_t r = 0; r < values.size(0); ++r)
      for (std::int64_t c = 0; c < values.size(1); ++c) values(r, c) = all(r, c);
    return values;
  }

  static Array<double> spread(const Array<double>& values, std::int64_t gap) {
    Array<double> wide({values.size(0), values.size(1) + gap}, std::numeric_limits<double>::quiet_NaN());
    for (std::int64_t r = 0; r < values.size(0); ++r)
      for (std::int64_t c = 0; c < values.size(1); ++c) wide(r, c) = values(r, c);
    return wide;
  }

  Buffer memory;
  Tensor tensor;
};

// The operands of a case and the call.
struct Operands {
  Operands(Device& device, DType act, const Case& c, std::uint32_t seed = 1)
      : Operands(device, act, c, Random(seed)) {}

  template <typename Real>
  reference::MatmulResult<Real> expected(const Case& c) const {
    return reference::matmul(a.values<Real>(), b.values<Real>(), c.transpose_a, c.transpose_b,
                             c.bias ? bias.values<Real>() : Array<Real>(), c.activation);
  }

  StridedMatrix a, b;
  Buffer bias, c, pre_activation;
  Matmul call;

 private:
  Operands(Device& device, DType act, const Case& spec, Random random)
      : a(device, act, random.normal(spec.transpose_a ? Shape{spec.K, spec.M} : Shape{spec.M, spec.K}),
          spec.gap),
        b(device, act, random.normal(spec.transpose_b ? Shape{spec.N, spec.K} : Shape{spec.K, spec.N}),
          spec.gap),
        bias(device, act, random.normal({spec.N})),
        c(spec.accumulate ? Buffer(device, DType::f32, random.normal({spec.M, spec.N}))
                          : Buffer(device, spec.f32_output ? DType::f32 : act, Shape{spec.M, spec.N})),
        pre_activation(device, act, Shape{spec.M, spec.N}) {
    call.a = a.tensor;
    call.b = b.tensor;
    call.c = c.tensor();
    call.transpose_a = spec.transpose_a;
    call.transpose_b = spec.transpose_b;
    call.accumulate = spec.accumulate;
    if (spec.bias) call.bias = bias.tensor();
    call.activation = spec.activation;
    if (spec.pre_activation) call.pre_activation = pre_activation.tensor();
    call.row_invariant = spec.row_invariant;
  }
};

void check(Device& device, DType act, const Case& c, std::uint32_t seed = 1) {
  Operands o(device, act, c, seed);
  auto exact = o.expected<double>(c);
  auto naive = o.expected<float>(c);
  if (c.accumulate) {
    exact.c = plus(exact.c, o.c.values<double>());
    naive.c = plus(naive.c, o.c.values<float>());
  }
  device.ops().matmul(o.call);
  if (c.pre_activation) {
    expect_close(o.pre_activation, exact.pre_activation, naive.pre_activation, c.text() + " pre_activation");
    // What the activation reads is what was stored.
    const Array<double> stored = o.pre_activation.values<double>();
    for (std::int64_t i = 0; i < stored.count(); ++i) {
      exact.c.values[i] = reference::activate(c.activation, stored.values[i]);
      naive.c.values[i] = reference::activate(c.activation, static_cast<float>(stored.values[i]));
    }
  }
  // Sums in another order than the naive one's may be a little less lucky where there are few of them.
  double largest = 0;
  for (double value : exact.c.values) largest = std::max(largest, std::abs(value));
  expect_close(o.c, exact.c, naive.c, c.text(), 0x1p-22 * largest);
}

TEST_P(MatmulTest, OddShapes) {
  const std::int64_t shapes[][3] = {{1, 1, 1},    {1, 7, 3},    {7, 1, 5},    {5, 9, 1},
                                    {17, 33, 65}, {64, 64, 64}, {3, 130, 2},  {31, 47, 19},
                                    {2, 257, 96}, {129, 5, 77}, {50, 1, 300}, {1, 300, 129}};
  for (const auto& [M, N, K] : shapes)
    for (int flags = 0; flags < 32; ++flags) {
      Case c{M, N, K};
      c.transpose_a = flags & 1;
      c.transpose_b = flags & 2;
      c.row_invariant = flags & 4;
      c.gap = flags & 8 ? 3 : 0;
      c.f32_output = c.bias = flags & 16;
      check(device(), act(), c);
    }
}

// Operands that are columns of wider matrices begin at any element.
TEST_P(MatmulTest, OperandsThatBeginAnywhere) {
  Random random;
  constexpr std::int64_t M = 16, N = 24, K = 32, kWidth = 48;
  const Buffer wide_a(device(), act(), random.normal({M, kWidth})),
      wide_b(device(), act(), random.normal({N, kWidth}));
  const auto columns = [&]<typename Real>(const Array<Real>& wide, std::int64_t begin) {
    Array<Real> part({wide.size(0), K});
    for (std::int64_t r = 0; r < part.size(0); ++r)
      for (std::int64_t k = 0; k < K; ++k) part(r, k) = wide(r, begin + k);
    return part;
  };
  for (const auto& [begin_a, begin_b] : {std::pair<int, int>{0, 1}, {1, 0}, {2, 2}, {4, 8}, {7, 16}}) {
    const auto expected = [&]<typename Real>(Real) {
      return reference::matmul(columns(wide_a.values<Real>(), begin_a),
                               columns(wide_b.values<Real>(), begin_b), false, true, Array<Real>(),
                               Activation::none);
    };
    const Buffer c(device(), act(), Shape{M, N});
    Matmul call;
    call.a = wide_a.tensor().slice(1, begin_a, begin_a + K);
    call.b = wide_b.tensor().slice(1, begin_b, begin_b + K);
    call.c = c;
    call.transpose_b = true;
    ops().matmul(call);
    const auto exact = expected(double{});
    expect_close(c, exact.c, expected(float{}).c, fmt::format("columns from {} and {}", begin_a, begin_b),
                 0x1p-22 * 20);
  }
}

// Large enough for operands to be rearranged first; twice, to meet what was prepared again with other memory.
TEST_P(MatmulTest, LargeShapes) {
  for (std::uint32_t seed : {1, 2}) {
    Case forward{801, 67, 70};
    forward.bias = true;
    forward.gap = 2;
    check(device(), act(), forward, seed);
    forward.transpose_b = true;
    check(device(), act(), forward, seed);
    Case weight_gradient{65, 1031, 99};
    weight_gradient.transpose_a = weight_gradient.accumulate = true;
    weight_gradient.gap = 1;
    check(device(), act(), weight_gradient, seed);
    weight_gradient.M = 770;
    check(device(), act(), weight_gradient, seed);
  }
}

TEST_P(MatmulTest, Accumulates) {
  for (int flags = 0; flags < 8; ++flags) {
    Case c{33, 65, 40};
    c.accumulate = true;
    c.transpose_a = flags & 1;
    c.transpose_b = flags & 2;
    c.row_invariant = flags & 4;
    check(device(), act(), c);
  }
}

TEST_P(MatmulTest, Activations) {
  for (Activation activation : kAllActivations)
    for (int flags = 0; flags < 32; ++flags) {
      Case c{13, flags & 16 ? 72 : 70, 24};  // rows of bf16 that are whole vectors, and not
      c.activation = activation;
      c.bias = flags & 1;
      c.pre_activation = flags & 2;
      c.row_invariant = flags & 4;
      c.f32_output = flags & 8;
      check(device(), act(), c);
    }
}

constexpr Passes kAllPasses[] = {Passes::automatic, Passes::apart, Passes::one};

// Unless one pass is asked for, the bits are those of two operations. In bf16 two passes round the product in
// between.
TEST_P(MatmulTest, ActivationBackward) {
  for (Activation activation : kAllActivations)
    for (const auto& [M, N, K] :
         {std::array<std::int64_t, 3>{13, 70, 24}, {40, 72, 64}, {1, 8, 8}, {0, 8, 8}})
      for (bool transpose_b : {false, true})
        for (Passes passes : kAllPasses) {
          Case c{M, N, K};
          c.transpose_b = transpose_b;
          Operands o(device(), act(), c);
          const Buffer before(device(), act(), Random(2).normal({M, N}));
          const auto expected = [&]<typename Real>(Real) {
            return reference::activation_backward(activation, before.values<Real>(), o.expected<Real>(c).c);
          };
          const Buffer apart(device(), act(), Shape{M, N});
          Matmul product = o.call;
          product.c = apart;
          ops().matmul(product);
          double largest = 0;
          for (double value : apart.values<double>().values) largest = std::max(largest, std::abs(value));
          ops().activation_backward(activation, before, apart, apart);

          o.call.activation = activation;
          o.call.pre_activation = before;
          o.call.activation_backward = true;
          o.call.passes = passes;
          ops().matmul(o.call);
          const std::string what = c.text() + " backward of " + name_of(activation);
          expect_close(o.c, expected(double{}), expected(float{}), what,
                       largest * (act() == DType::bf16 ? 0x1p-8 : 0x1p-20));
          if (passes != Passes::one) {
            EXPECT_EQ(o.c.bytes(), apart.bytes()) << what;
          }
        }
}

// The gradients of weight and bias in one call, of a weight stored either way.
TEST_P(MatmulTest, SumsOfTheOperandThatIsAGradient) {
  for (const auto& [M, N, K] :
       {std::array<std::int64_t, 3>{33, 65, 40}, {64, 72, 1000}, {8, 8, 1}, {0, 8, 4}, {8, 0, 4}, {8, 8, 0}})
    for (bool of_a : {false, true})
      for (bool accumulate : {false, true})
        for (Passes passes : kAllPasses) {
          Case c{M, N, K};
          c.transpose_a = true;
          c.accumulate = accumulate;
          c.f32_output = !accumulate;
          Operands o(device(), act(), c);
          const auto expected = [&]<typename Real>(Real) {
            auto product = o.expected<Real>(c).c;
            return accumulate ? plus(product, o.c.values<Real>()) : product;
          };
          const Buffer sums(device(), DType::f32, Random(2).normal({of_a ? M : N}));
          const auto expected_sums = [&]<typename Real>(Real) {
            return plus(reference::bias_gradient((of_a ? o.a : o.b).values<Real>()), sums.values<Real>());
          };
          const auto exact = expected(double{}), exact_sums = expected_sums(double{});
          const auto naive = expected(float{}), naive_sums = expected_sums(float{});
          (of_a ? o.call.a_sums : o.call.b_sums) = sums;
          o.call.passes = passes;
          ops().matmul(o.call);
          const std::string what = c.text() + (of_a ? " a_sums" : " b_sums");
          expect_close(o.c, exact, naive, what, 0x1p-20 * 100);
          expect_close(sums, exact_sums, naive_sums, what + " sums", 0x1p-20 * 10);
        }
}

TEST_P(MatmulTest, EmptyDimensions) {
  for (const auto& [M, N, K] : {std::array<std::int64_t, 3>{0, 5, 4}, {5, 0, 4}, {5, 4, 0}, {0, 0, 0}})
    for (int flags = 0; flags < 16; ++flags) {
      Case c{M, N, K};
      c.transpose_a = flags & 1;
      c.transpose_b = flags & 2;
      c.row_invariant = flags & 4;
      (flags & 8 ? c.accumulate : c.bias) = true;
      check(device(), act(), c);
    }
}

TEST_P(MatmulTest, SameBitsAgain) {
  Case c{800, 1030, 300};
  c.transpose_a = true;
  const Operands first(device(), act(), c), second(device(), act(), c);
  ops().matmul(first.call);
  ops().matmul(second.call);
  EXPECT_EQ(first.c.bytes(), second.c.bytes());
}

TEST_P(MatmulTest, RowInvariantRowsDependOnThemselvesAlone) {
  const std::int64_t rows = 45;
  for (bool transpose_b : {false, true})
    for (const auto& [N, K] : {std::pair<int, int>{70, 65}, {2100, 33}, {5, 130}}) {
      Case c{rows, N, K};
      c.transpose_b = transpose_b;
      c.bias = c.row_invariant = true;
      c.activation = Activation::gelu_tanh;
      Operands o(device(), act(), c);
      ops().matmul(o.call);
      const std::vector<unsigned char> all = o.c.bytes();
      const std::int64_t row_bytes = N * size_of(act());
      for (std::int64_t count : {1, 2, 3, 4, 5, 8, 9, 17})
        for (std::int64_t begin : {std::int64_t{0}, std::int64_t{6}, rows - count}) {
          const Buffer part(device(), act(), Shape{count, N});
          Matmul call = o.call;
          call.a = o.a.tensor.slice(0, begin, begin + count);
          call.c = part.tensor();
          ops().matmul(call);
          EXPECT_EQ(std::memcmp(part.bytes().data(), all.data() + begin * row_bytes, count * row_bytes), 0)
              << c.text() << " rows " << begin << " + " << count;
        }
    }
}

TEST_P(MatmulTest, NamesAShapeThatDoesNotFit) {
  Operands o(device(), act(), Case{4, 5, 6});
  o.call.transpose_a = true;
  try {
    ops().matmul(o.call);
    FAIL() << "took a shape that does not fit";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("matmul"), std::string::npos) << e.what();
  }
}

TEST_P(MatmulTest, BiasGradient) {
  Random random;
  std::vector<RowsAndWidth> sizes = matrix_sizes();
  sizes.push_back({3000, 300});
  for (const RowsAndWidth& size : sizes) {
    const Buffer dy(device(), act(), random.normal({size.rows, size.width}));
    const Buffer dbias(device(), DType::f32, random.normal({size.width}));
    const auto exact = plus(reference::bias_gradient(dy.values<double>()), dbias.values<double>());
    const auto naive = plus(reference::bias_gradient(dy.values<float>()), dbias.values<float>());
    ops().bias_gradient(dy, dbias);
    expect_close(dbias, exact, naive, "bias_gradient " + to_string(size), 0x1p-20);
  }
}

}  // namespace
}  // namespace heddle
