// Bits that must be equal: from run to run, with any number of threads and in whichever order they run (more
// than ops.h asks of a backend, but kept by all), and for a row wherever it lies and whatever lies beside it
// (decoding with a cache relies on it).
#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
using Bytes = std::vector<unsigned char>;

// Runs every operation of the pointwise families on fixed inputs and returns all outputs.
std::vector<Bytes> run_everything(Device& device, DType act, std::int64_t rows, std::int64_t width) {
  Ops& ops = device.ops();
  Random random(7);
  const Shape shape = {rows, width}, columns = {width};
  const auto input = [&](Shape s) { return Buffer(device, act, random.normal(s)); };
  const auto f32 = [&](Shape s) { return Buffer(device, DType::f32, random.normal(s)); };
  const Buffer x = input(shape), dy = input(shape), gate = input({rows, 2 * width}), weight = input(columns);
  const Buffer dx = input(shape), y(device, act, shape), d_gate(device, act, gate.tensor().shape);
  const Buffer mean(device, DType::f32, Shape{rows}), rstd(device, DType::f32, Shape{rows});
  const Buffer dweight = f32(columns), dbias = f32(columns), rms_dweight = f32(columns),
               dropped_dbias = f32(columns);
  std::vector<Bytes> outputs;
  const auto keep = [&](const Buffer& b) { outputs.push_back(b.bytes()); };

  ops.activation_backward(Activation::gelu_tanh, x, dy, y);
  keep(y);
  ops.gated_backward(Activation::silu, gate, dy, d_gate);
  keep(d_gate);
  ops.layer_norm_forward(x, weight, weight, 1e-5f, y, mean, rstd);
  keep(y), keep(mean), keep(rstd);
  ops.layer_norm_backward(dy, x, weight, mean, rstd, true, dx, dweight, dbias);
  keep(dx), keep(dweight), keep(dbias);
  ops.rms_norm_forward(x, weight, 1e-5f, y, rstd);
  keep(y);
  ops.rms_norm_backward(dy, x, weight, rstd, false, dx, rms_dweight);
  keep(dx), keep(rms_dweight);

  const Scalar<std::uint32_t> step(device, 4);
  const Dropout dropout{0.1f, 1234, step.get(), 1};
  const Buffer batch = input({1, rows, width}), dropped(device, act, Shape{1, rows, width});
  ops.bias_dropout_residual(batch, weight, batch, dropout, dropped);
  keep(dropped);
  ops.bias_dropout_residual_backward(batch, dropout, dropped, dropped_dbias);
  keep(dropped), keep(dropped_dbias);

  const Buffer ids(device, random.integers(rows, 0, 20)), dtable = f32({21, width});
  ops.embedding_backward(ids, dy, 0, dtable);
  keep(dtable);
  // More tokens than are sorted by one block.
  const Buffer few_ids(device, random.integers(4000, 0, 300)), large_dtable = f32({301, 3});
  ops.embedding_backward(few_ids, input({4000, 3}), 0, large_dtable);
  keep(large_dtable);

  const Buffer targets(device, random.integers(rows, -1, static_cast<std::int32_t>(width) - 1));
  const Buffer statistics(device, DType::f32, Shape{1, rows, 4});
  const Buffer loss(device, DType::f32, Shape{rows}), log_sum_exp(device, DType::f32, Shape{rows});
  const Scalar<float> scale(device, 0.01f);
  CrossEntropy cross_entropy;
  cross_entropy.logits = gate.tensor().slice(1, 0, width);
  cross_entropy.targets = targets;
  cross_entropy.valid_columns = cross_entropy.vocabulary = width;
  ops.cross_entropy_statistics(cross_entropy, statistics.tensor()[0]);
  ops.cross_entropy_merge(cross_entropy, statistics, loss, log_sum_exp);
  ops.cross_entropy_backward(cross_entropy, log_sum_exp, scale.get());
  keep(statistics), keep(loss), keep(gate);

  const std::int64_t count = rows * width;
  const Buffer parameter = f32({count}), gradient = f32({count}), moment1 = f32({count});
  const Buffer moment2(device, DType::f32, Array<double>({count}, 0.1));
  const Scalar<double> norm(device, 0), total(device, 0);
  const Scalar<AdamWStep> adamw_step(device, {1e-3f, 0.1f, 0.01f, 1.0f, 0});
  ops.squared_norm(gradient, {}, norm.get());
  ops.sum(gradient, total.get());
  const Scalar<std::uint32_t> stopped(device, 0);
  ops.clip_scale(norm.get(), total.get(), 1.0f, adamw_step.get(), stopped.get());
  ops.adamw({parameter, gradient, moment1, moment2, {}, adamw_step.get()});
  keep(parameter), keep(moment1), keep(moment2);
  for (const Scalar<double>* sum : {&norm, &total}) {
    const double value = sum->value();
    outputs.emplace_back(reinterpret_cast<const unsigned char*>(&value),
                         reinterpret_cast<const unsigned char*>(&value) + sizeof value);
  }
  return outputs;
}

TEST(BitEquality, AnyNumberOfThreadsAndOrder) {
  for (DType act : {DType::f32, DType::bf16})
    for (const RowsAndWidth& size : {RowsAndWidth{300, 257}, RowsAndWidth{37, 1024}}) {
      const auto expected =
          run_everything(*backends_of_equal_bits().front().make(), act, size.rows, size.width);
      for (const Backend& backend : backends_of_equal_bits()) {
        const auto actual = run_everything(*backend.make(), act, size.rows, size.width);
        ASSERT_EQ(actual.size(), expected.size());
        for (std::size_t i = 0; i < actual.size(); ++i)
          EXPECT_EQ(actual[i], expected[i]) << "output " << i << " of " << backend.name;
      }
    }
}

using BitEqualityTest = OpTest;
INSTANTIATE_TEST_SUITE_P(, BitEqualityTest, testing::ValuesIn(all_cases()), case_name);

// Every row of a batch against that row alone, for widths whose rows begin at every alignment.
TEST_P(BitEqualityTest, RowsStandAlone) {
  Random random;
  for (std::int64_t width : {1, 5, 17, 63, 768, 1001}) {
    constexpr std::int64_t kRows = 9;
    const Buffer x(device(), act(), random.normal({kRows, width}, 2));
    const Buffer gate(device(), act(), random.normal({kRows, 2 * width}, 2));
    const Buffer weight(device(), act(), random.normal({width}));
    const Buffer table(device(), act(), random.normal({50, width}));
    const std::vector<std::int32_t> id_values = random.integers(kRows, 0, 49);
    const std::vector<std::int32_t> target_values =
        random.integers(kRows, 0, static_cast<std::int32_t>(width) - 1);

    // The rows [begin, end) through one operation each, as bytes of each row.
    const auto run = [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t rows = end - begin;
      const Tensor part = x.tensor().slice(0, begin, end), gate_part = gate.tensor().slice(0, begin, end);
      const Buffer ids(device(),
                       std::vector<std::int32_t>(id_values.begin() + begin, id_values.begin() + end));
      const Buffer targets(
          device(), std::vector<std::int32_t>(target_values.begin() + begin, target_values.begin() + end));
      std::vector<Bytes> of_row(rows);
      const auto keep = [&](const Buffer& b) {
        const Bytes bytes = b.bytes();
        for (std::int64_t n = 0; n < rows; ++n)
          of_row[n].insert(of_row[n].end(), bytes.begin() + bytes.size() / rows * n,
                           bytes.begin() + bytes.size() / rows * (n + 1));
      };
      const Buffer y(device(), act(), Shape{rows, width});
      for (Activation kind : kAllActivations) {
        ops().activation_forward(kind, part, y);
        keep(y);
        ops().gated_forward(kind, gate_part, y);
        keep(y);
      }
      const Buffer mean(device(), DType::f32, Shape{rows}), rstd(device(), DType::f32, Shape{rows});
      ops().layer_norm_forward(part, weight, weight, 1e-5f, y, mean, rstd);
      keep(y), keep(mean), keep(rstd);
      ops().rms_norm_forward(part, weight, 1e-5f, y, rstd);
      keep(y), keep(rstd);
      ops().embedding_forward(ids, table, 0, false, y);
      keep(y);
      ops().add(part, y, y);
      keep(y);
      const Buffer statistics(device(), DType::f32, Shape{1, rows, 4});
      const Buffer loss(device(), DType::f32, Shape{rows}), log_sum_exp(device(), DType::f32, Shape{rows});
      CrossEntropy op;
      op.logits = part;
      op.targets = targets;
      op.valid_columns = op.vocabulary = width;
      ops().cross_entropy_statistics(op, statistics.tensor()[0]);
      ops().cross_entropy_merge(op, statistics, loss, log_sum_exp);
      keep(statistics), keep(loss), keep(log_sum_exp);
      return of_row;
    };
    const std::vector<Bytes> together = run(0, kRows);
    for (std::int64_t n = 0; n < kRows; ++n)
      EXPECT_EQ(run(n, n + 1)[0], together[n]) << "row " << n << " of " << width;
    const std::vector<Bytes> tail = run(3, kRows);
    for (std::int64_t n = 3; n < kRows; ++n)
      EXPECT_EQ(tail[n - 3], together[n]) << "row " << n << " of " << width;
  }
}

// A parameter is updated to the same bits wherever it lies in its (sharded) flat buffer.
TEST(BitEquality, AdamWElementsStandAlone) {
  const auto device = backends_of_equal_bits().back().make();
  Random random;
  constexpr std::int64_t kCount = 203;
  const Array<double> p = random.normal({kCount}), g = random.normal({kCount}), m = random.normal({kCount});
  const Array<double> v({kCount}, 0.3);
  const Scalar<AdamWStep> step(*device, {1e-2f, 0.3f, 0.02f, 0.7f, 0});
  const auto run = [&](std::int64_t begin) {
    const Buffer parameter(*device, DType::f32, p), gradient(*device, DType::f32, g),
        moment1(*device, DType::f32, m);
    const Buffer moment2(*device, DType::f32, v);
    const auto from = [&](const Buffer& b) { return b.tensor().slice(0, begin, kCount); };
    device->ops().adamw({from(parameter), from(gradient), from(moment1), from(moment2), {}, step.get()});
    return parameter.values<float>().values;
  };
  const std::vector<float> whole = run(0);
  for (std::int64_t begin : {1, 7, 16, 150, 202}) {
    const std::vector<float> part = run(begin);
    for (std::int64_t i = begin; i < kCount; ++i) ASSERT_EQ(part[i], whole[i]) << i;
  }
}

}  // namespace
}  // namespace heddle
