#include "kernels/reference/embedding.h"

#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(EmbeddingTest);

TEST_P(EmbeddingTest, ForwardAndBackward) {
  Random random;
  for (const RowsAndWidth& size : matrix_sizes())
    for (std::int64_t first_row : {0, 3, 100}) {
      const std::string what = "embedding " + to_string(size);
      constexpr std::int64_t kTableRows = 7;
      // Ids before, in and behind the table's rows, many of them twice.
      const std::vector<std::int32_t> id_values = random.integers(size.rows, 0, 12);
      const Buffer ids(device(), id_values);
      const Buffer table(device(), act(), random.normal({kTableRows, size.width}));
      const Buffer out(device(), act(), Shape{size.rows, size.width});
      ops().embedding_forward(ids, table, first_row, false, out);
      expect_close(out, reference::embedding_forward(id_values, table.values<double>(), first_row),
                   reference::embedding_forward(id_values, table.values<float>(), first_row), what);

      const Buffer sum(device(), act(), random.normal({size.rows, size.width}));
      const auto exact = plus(sum.values<double>(), out.values<double>());
      const auto naive = plus(sum.values<float>(), out.values<float>());
      ops().embedding_forward(ids, table, first_row, true, sum);
      expect_close(sum, exact, naive, what + " accumulated");

      const Buffer dout(device(), act(), random.normal({size.rows, size.width}));
      const Buffer dtable(device(), DType::f32, random.normal({kTableRows, size.width}));
      const auto exact_grad =
          plus(dtable.values<double>(),
               reference::embedding_backward(id_values, dout.values<double>(), first_row, kTableRows));
      const auto naive_grad =
          plus(dtable.values<float>(),
               reference::embedding_backward(id_values, dout.values<float>(), first_row, kTableRows));
      ops().embedding_backward(ids, dout, first_row, dtable);
      expect_close(dtable, exact_grad, naive_grad, what + " backward");
    }
}

// A token that every other position has beside many rare ones, in a table with more rows than a byte counts;
// and one token alone.
TEST_P(EmbeddingTest, FrequentTokens) {
  Random random;
  for (const std::int64_t width : {3, 40})
    for (const bool rare_ones : {true, false}) {
      constexpr std::int64_t kTokens = 4500, kTableRows = 700, kFirstRow = 50;
      constexpr std::int32_t kFrequent = 333;
      std::vector<std::int32_t> id_values = random.integers(kTokens, 0, kTableRows + kFirstRow + 40);
      for (std::int64_t n = 0; n < kTokens; ++n)
        if (!rare_ones || n % 2) id_values[n] = kFrequent;
      const Buffer ids(device(), id_values);
      const Buffer dout(device(), act(), random.normal({kTokens, width}));
      const Buffer dtable(device(), DType::f32, random.normal({kTableRows, width}));
      const auto exact =
          plus(dtable.values<double>(),
               reference::embedding_backward(id_values, dout.values<double>(), kFirstRow, kTableRows));
      const auto naive =
          plus(dtable.values<float>(),
               reference::embedding_backward(id_values, dout.values<float>(), kFirstRow, kTableRows));
      ops().embedding_backward(ids, dout, kFirstRow, dtable);
      expect_close(dtable, exact, naive, "embedding backward of a frequent token");
    }
}

}  // namespace
}  // namespace heddle
