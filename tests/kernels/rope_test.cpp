#include "kernels/reference/rope.h"

#include <cmath>

#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(RopeTest);

struct Case {
  std::int64_t batch, length, heads, head_size, rotary_size;
};
constexpr Case kCases[] = {{1, 1, 1, 2, 2},   {2, 3, 2, 64, 64},  {1, 5, 3, 128, 128}, {2, 4, 1, 10, 6},
                           {1, 3, 5, 96, 32}, {1, 2, 40, 64, 64}, {2, 2, 2, 256, 256}, {1, 2, 2, 300, 34},
                           {0, 4, 2, 16, 16}, {1, 33, 4, 80, 16}};

std::string text_of(const Case& c) {
  return Tensor(nullptr, DType::f32, {c.batch, c.length, c.heads, c.head_size}).shape.to_string() +
         " of which " + std::to_string(c.rotary_size);
}

TEST_P(RopeTest, TurnsAndTurnsBack) {
  Random random;
  for (const Case& c : kCases)
    for (std::int32_t last_position : {0, 50, 200000})
      for (bool inverse : {false, true}) {
        const Shape shape = {c.batch, c.length, c.heads, c.head_size};
        const Buffer x(device(), act(), random.normal(shape));
        const std::vector<std::int32_t> position_values =
            random.integers(c.batch * c.length, 0, last_position);
        const Buffer positions(device(), position_values);
        const auto expected = [&]<typename Real>(Real base) {
          return reference::rope(x.values<Real>(), position_values, c.rotary_size, base, inverse);
        };
        const auto exact = expected(10000.0);
        const auto naive = expected(10000.0f);
        ops().rope({x, positions, c.rotary_size, 10000.0f, inverse});
        expect_close(x, exact, naive, "rope " + text_of(c));
      }
}

// The backward of a rotation is the rotation back.
TEST_P(RopeTest, InverseUndoes) {
  Random random;
  const Array<double> values = random.normal({2, 7, 3, 64});
  const Buffer x(device(), act(), values), before(device(), act(), values);
  const Buffer positions(device(), random.integers(14, 0, 3000));
  ops().rope({x, positions, 48, 500000.0f, false});
  EXPECT_NE(x.bytes(), before.bytes());
  ops().rope({x, positions, 48, 500000.0f, true});
  const auto back = x.values<double>(), wanted = before.values<double>();
  for (std::int64_t i = 0; i < back.count(); ++i)
    ASSERT_NEAR(back.values[i], wanted.values[i], act() == DType::bf16 ? 0.05 : 2e-6) << i;
}

// The queries of a packed [B, T, 3, H, D] projection, at widths where packs of 16 bytes do and do not fit.
TEST_P(RopeTest, StridedHeads) {
  Random random;
  for (std::int64_t head_size : {64, 10}) {
    const std::int64_t B = 2, T = 5, H = 3, part = H * head_size;
    const Buffer packed(device(), act(), random.normal({B, T, 3 * part})),
        original(device(), act(), Shape{B, T, 3 * part});
    ops().copy(packed, original);
    const Buffer positions(device(), random.integers(B * T, 0, 100));
    const auto queries_of = [&](const Buffer& all) {
      Tensor queries(all.tensor().data, act(), {B, T, H, head_size});
      queries.stride = {T * 3 * part, 3 * part, head_size, 1};
      queries.data = all.tensor().slice(2, part, 2 * part).data;
      return queries;
    };
    const Buffer alone(device(), act(), Shape{B, T, H, head_size}),
        turned(device(), act(), Shape{B, T, H, head_size});
    ops().copy(queries_of(packed), alone);
    ops().rope({alone, positions, head_size, 10000.0f, false});
    ops().rope({queries_of(packed), positions, head_size, 10000.0f, false});
    ops().copy(queries_of(packed), turned);
    EXPECT_EQ(turned.bytes(), alone.bytes());
    // What lies beside them is as before.
    ops().copy(queries_of(original), queries_of(packed));
    EXPECT_EQ(packed.bytes(), original.bytes());
  }
}

// Scores depend on the distance of two tokens alone, which is what the embedding is for.
TEST_P(RopeTest, ScoresDependOnDistance) {
  if (act() == DType::bf16) GTEST_SKIP() << "differences are below the precision of bf16";
  Random random;
  const Array<double> q = random.normal({64}), k = random.normal({64});
  const auto score = [&](std::int32_t at, std::int32_t distance) {
    Array<double> both({1, 2, 1, 64});
    for (std::int64_t i = 0; i < 64; ++i) both(0, 0, 0, i) = q(i), both(0, 1, 0, i) = k(i);
    const Buffer x(device(), act(), both), positions(device(), {at, at + distance});
    ops().rope({x, positions, 64, 10000.0f, false});
    const auto turned = x.values<double>();
    double sum = 0;
    for (std::int64_t i = 0; i < 64; ++i) sum += turned(0, 0, 0, i) * turned(0, 1, 0, i);
    return sum;
  };
  EXPECT_NEAR(score(3, 5), score(1000, 5), 1e-4);
  EXPECT_GT(std::abs(score(3, 5) - score(3, 6)), 1e-2);
}

}  // namespace
}  // namespace heddle
