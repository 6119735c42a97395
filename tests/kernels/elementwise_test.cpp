#include "kernels/reference/elementwise.h"

#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(ElementwiseTest);

TEST_P(ElementwiseTest, AddAndScale) {
  Random random;
  for (const RowsAndWidth& size : matrix_sizes()) {
    const Shape shape = {size.rows, size.width};
    const Buffer a(device(), act(), random.normal(shape)), b(device(), act(), random.normal(shape));
    const Buffer out(device(), act(), shape), scaled(device(), act(), shape);

    ops().add(a, b, out);
    expect_close(out, reference::add(a.values<double>(), b.values<double>()),
                 reference::add(a.values<float>(), b.values<float>()), "add " + to_string(size));
    ops().scale(a, 0.3f, scaled);
    expect_close(scaled, reference::scale(a.values<double>(), double(0.3f)),
                 reference::scale(a.values<float>(), 0.3f), "scale " + to_string(size));

    ops().scale(a, 0.3f, a);
    EXPECT_EQ(a.bytes(), scaled.bytes());
  }
}

TEST_P(ElementwiseTest, AddInPlace) {
  Random random;
  const Shape shape = {9, 37};
  for (bool into_left : {true, false}) {
    const Buffer a(device(), act(), random.normal(shape)), b(device(), act(), random.normal(shape));
    const Buffer out(device(), act(), shape);
    ops().add(a, b, out);
    ops().add(a, b, into_left ? a : b);
    EXPECT_EQ((into_left ? a : b).bytes(), out.bytes());
  }
}

TEST_P(ElementwiseTest, Fill) {
  for (std::int64_t count : {0, 1, 17, 100000}) {
    const Buffer x(device(), act(), Shape{count});
    ops().fill(x, -0.1f);
    const float wanted = act() == DType::bf16 ? static_cast<float>(bfloat16(-0.1f)) : -0.1f;
    for (float value : x.values<float>().values) ASSERT_EQ(value, wanted);
  }
}

TEST_P(ElementwiseTest, CopyCasts) {
  Random random;
  for (std::int64_t count : {0, 1, 17, 50000})
    for (DType other : {DType::f32, DType::bf16}) {
      const Buffer from(device(), act(), random.normal({count})), to(device(), other, Shape{count});
      ops().copy(from, to);
      const Buffer wanted(device(), other, from.values<double>());
      EXPECT_EQ(to.bytes(), wanted.bytes());
    }
}

// [B, T, 3, H, D] -> its middle third, transposed views and rows of a wider matrix: any strides on both
// sides.
TEST_P(ElementwiseTest, CopyStrided) {
  Random random;
  for (DType other : {DType::f32, DType::bf16})
    for (std::int64_t head_size : {1, 5, 64}) {
      const std::int64_t B = 2, T = 3, H = 4;
      const Buffer packed(device(), act(), random.normal({B, T, 3 * H * head_size}));
      Tensor middle = Tensor(packed.tensor().data, act(), {B, T, 3, H * head_size}).slice(2, 1, 2);
      const Buffer out(device(), other, Shape{B, 1, T, H * head_size});
      Tensor transposed = out.tensor();  // written as [B, T, 1, C], laid out as [B, 1, T, C]
      transposed.shape = {B, T, 1, H * head_size};
      transposed.stride = {T * H * head_size, H * head_size, T * H * head_size, 1};
      ops().copy(middle, transposed);

      const Array<double> source = packed.values<double>();
      Array<double> wanted(out.tensor().shape);
      for (std::int64_t b = 0; b < B; ++b)
        for (std::int64_t t = 0; t < T; ++t)
          for (std::int64_t c = 0; c < H * head_size; ++c)
            wanted(b, 0, t, c) = source(b, t, H * head_size + c);
      EXPECT_EQ(out.bytes(), Buffer(device(), other, wanted).bytes());
    }
}

TEST_P(ElementwiseTest, CopyIntegersAsBits) {
  const std::vector<std::int32_t> values = {-1, 7, 0x7fc00001, -2147483647};
  const Buffer from(device(), values), to(device(), DType::i32, Shape{4});
  ops().copy(from, to);
  EXPECT_EQ(to.bytes(), from.bytes());
}

}  // namespace
}  // namespace heddle
