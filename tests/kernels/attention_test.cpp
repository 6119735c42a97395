#include "kernels/reference/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;
HEDDLE_OP_TEST(AttentionTest);

struct Case {
  std::int64_t batch = 1, queries = 1, keys = 1, heads = 1, kv_heads = 1, head_size = 1;
  bool causal = false;
  bool packed = false;  // q, k and v, and their gradients, interleaved as [B, T, 3, H, D]
  std::vector<std::int32_t> key_lengths = {};
  float dropout = 0;

  std::string text() const {
    return fmt::format("B {} Tq {} Tk {} H {}/{} D {}{}{}{}{}", batch, queries, keys, heads, kv_heads,
                       head_size, causal ? " causal" : "", packed ? " packed" : "",
                       key_lengths.empty() ? "" : " lengths", dropout > 0 ? " dropout" : "");
  }
};

// A tensor of heads: a slice of a packed one, or a buffer of its own whose heads have a gap between them.
struct Heads {
  std::shared_ptr<Buffer> memory;
  Tensor tensor;

  template <typename Real>
  Array<Real> values() const {
    // The place of the tensor's elements within the buffer's.
    const Array<Real> all = memory->values<Real>();
    const std::int64_t start =
        (static_cast<const char*>(tensor.data) - static_cast<const char*>(memory->tensor().data)) /
        static_cast<std::int64_t>(size_of(tensor.dtype));
    Array<Real> values(tensor.shape);
    std::int64_t at = 0;
    for (std::int64_t b = 0; b < tensor.size(0); ++b)
      for (std::int64_t t = 0; t < tensor.size(1); ++t)
        for (std::int64_t h = 0; h < tensor.size(2); ++h)
          for (std::int64_t d = 0; d < tensor.size(3); ++d)
            values.values[at++] =
                all.values[start + b * tensor.stride[0] + t * tensor.stride[1] + h * tensor.stride[2] + d];
    return values;
  }
};

// Everything that one call needs, on a device.
class Problem {
 public:
  Problem(Device& device, DType act, const Case& c, std::uint32_t seed = 1)
      : case_(c), device_(device), act_(act), step_(device, 7u) {
    Random random(seed);
    const Shape query_shape = {c.batch, c.queries, c.heads, c.head_size};
    const Shape key_shape = {c.batch, c.keys, c.kv_heads, c.head_size};
    make_inputs({random.normal(query_shape), random.normal(key_shape), random.normal(key_shape)});
    o_ = make_heads(query_shape, 1);
    d_o_ = upload({random.normal(query_shape)}).front();
    log_sum_exp_ = std::make_shared<Buffer>(device, DType::f32, Shape{c.batch, c.heads, c.queries});
    if (!c.key_lengths.empty()) lengths_ = std::make_shared<Buffer>(device, c.key_lengths);
    if (c.packed) {
      const Heads all = make_heads({c.batch, c.queries, c.heads, c.head_size}, 3);
      for (int i = 0; i < 3; ++i) gradients_.push_back(part(all, i));
    } else {
      gradients_ = {make_heads(query_shape, 1), make_heads(key_shape, 1), make_heads(key_shape, 1)};
    }
    call_.q = inputs_[0].tensor;
    call_.k = inputs_[1].tensor;
    call_.v = inputs_[2].tensor;
    call_.o = o_.tensor;
    call_.log_sum_exp = log_sum_exp_->tensor();
    call_.scale = 1 / std::sqrt(static_cast<float>(c.head_size));
    call_.causal = c.causal;
    if (lengths_) call_.key_lengths = lengths_->tensor().as<std::int32_t>();
    call_.dropout.probability = c.dropout;
    call_.dropout.key = 0x123456789abcdefull;
    call_.dropout.step = step_.get();
    call_.dropout.first_sample = 5;
    call_.first_head = 3;
  }

  const Attention& call() const { return call_; }
  Attention& call() { return call_; }

  void forward() { device_.ops().attention_forward(call_); }
  void backward() {
    const Case& c = case_;
    const std::int64_t count =
        device_.ops().attention_backward_scratch(c.batch, c.queries, c.keys, c.heads, c.head_size);
    const Buffer scratch(device_, DType::f32, Shape{count});
    device_.ops().attention_backward(call_, {d_o_.tensor, gradients_[0].tensor, gradients_[1].tensor,
                                             gradients_[2].tensor, scratch.tensor()});
  }

  template <typename Real>
  reference::AttentionInput<Real> reference_input() const {
    reference::AttentionInput<Real> input;
    input.q = inputs_[0].values<Real>();
    input.k = without_nan(inputs_[1].values<Real>());
    input.v = without_nan(inputs_[2].values<Real>());
    input.scale = call_.scale;
    input.causal = case_.causal;
    input.key_lengths = case_.key_lengths;
    input.dropout = call_.dropout;
    input.dropout.step = &kStep;
    input.first_head = call_.first_head;
    return input;
  }

  template <typename Real>
  Array<Real> d_o() const {
    return d_o_.values<Real>();
  }
  // Results as contiguous buffers, for expect_close.
  Buffer o() const { return contiguous(o_); }
  Buffer gradient(int which) const { return contiguous(gradients_[which]); }
  const Buffer& log_sum_exp() const { return *log_sum_exp_; }

  // All bits of the results.
  std::vector<std::vector<unsigned char>> bytes() const {
    std::vector<std::vector<unsigned char>> all = {o_.memory->bytes(), log_sum_exp_->bytes()};
    for (const Heads& g : gradients_) all.push_back(g.memory->bytes());
    return all;
  }

 private:
  static constexpr std::uint32_t kStep = 7;

  // [B, T, H, D] of which every head is one of `parts` neighbours.
  Heads make_heads(Shape shape, std::int64_t parts) const {
    auto memory =
        std::make_shared<Buffer>(device_, act_, Shape{shape[0], shape[1], parts, shape[2], shape[3]});
    return part({memory, {}}, 0);
  }
  static Heads part(const Heads& all, int which) {
    const Tensor& m = all.memory->tensor();
    Heads heads = all;
    heads.tensor = m.slice(2, which, which + 1);
    heads.tensor.shape = {m.size(0), m.size(1), m.size(3), m.size(4)};
    heads.tensor.stride = {m.stride[0], m.stride[1], m.stride[3], m.stride[4]};
    return heads;
  }

  // Arrays of one shape side by side: [B, T, arrays, H, D].
  std::vector<Heads> upload(const std::vector<Array<double>>& arrays) const {
    const Shape& s = arrays[0].shape;
    const std::int64_t width = s[2] * s[3], rows = s[0] * s[1],
                       parts = static_cast<std::int64_t>(arrays.size());
    Array<double> joined({s[0], s[1], parts, s[2], s[3]});
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t p = 0; p < parts; ++p)
        std::copy_n(arrays[p].values.begin() + row * width, width,
                    joined.values.begin() + (row * parts + p) * width);
    const Heads all{std::make_shared<Buffer>(device_, act_, joined), {}};
    std::vector<Heads> heads;
    for (int p = 0; p < parts; ++p) heads.push_back(part(all, p));
    return heads;
  }

  void make_inputs(std::vector<Array<double>> arrays) {
    // What lies past a sequence's keys is never read.
    for (std::size_t b = 0; b < case_.key_lengths.size(); ++b)
      for (std::int64_t j = case_.key_lengths[b]; j < case_.keys; ++j)
        for (std::int64_t h = 0; h < case_.kv_heads; ++h)
          for (std::int64_t d = 0; d < case_.head_size; ++d)
            arrays[1](b, j, h, d) = arrays[2](b, j, h, d) = std::numeric_limits<double>::quiet_NaN();
    if (case_.packed) {
      inputs_ = upload(arrays);
    } else {
      for (const Array<double>& array : arrays) inputs_.push_back(upload({array}).front());
    }
  }

  template <typename Real>
  static Array<Real> without_nan(Array<Real> array) {
    for (Real& value : array.values)
      if (std::isnan(value)) value = 0;
    return array;
  }
  Buffer contiguous(const Heads& heads) const { return Buffer(device_, act_, heads.values<double>()); }

  Case case_;
  Device& device_;
  DType act_;
  Scalar<std::uint32_t> step_;
  std::vector<Heads> inputs_, gradients_;
  Heads o_, d_o_;
  std::shared_ptr<Buffer> log_sum_exp_, lengths_;
  Attention call_;
};

// Probabilities and their gradients are rounded to act between the products. What cancels (dS sums to 0 over
// the keys) leaves an error that is small against the terms, which are of the order of `term`, not against
// the result.
void expect_result(const Buffer& actual, const Array<double>& exact, const Array<float>& naive,
                   const std::string& what, double term = 0) {
  double largest = term;
  for (double value : exact.values)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  expect_close(actual, exact, naive, what,
               largest * (actual.tensor().dtype == DType::bf16 ? 0x1p-8 : 0x1p-21));
}

void check(Device& device, DType act, const Case& c) {
  Problem p(device, act, c);
  p.forward();
  p.backward();
  const auto exact_input = p.reference_input<double>();
  const auto naive_input = p.reference_input<float>();
  const auto exact = reference::attention_forward(exact_input);
  const auto naive = reference::attention_forward(naive_input);
  const std::string what = "attention " + c.text();
  expect_result(p.o(), exact.o, naive.o, what + " o");
  expect_result(p.log_sum_exp(), exact.log_sum_exp, naive.log_sum_exp, what + " log_sum_exp", 1);
  const auto exact_gradients = reference::attention_backward(exact_input, p.d_o<double>());
  const auto naive_gradients = reference::attention_backward(naive_input, p.d_o<float>());
  expect_result(p.gradient(0), exact_gradients.dq, naive_gradients.dq, what + " dq", 8);
  expect_result(p.gradient(1), exact_gradients.dk, naive_gradients.dk, what + " dk", 8);
  expect_result(p.gradient(2), exact_gradients.dv, naive_gradients.dv, what + " dv");
}

// Leaves NaNs in the working memory that a device keeps.
void poison_working_memory(Device& device, DType act) {
  const Shape shape = {1, 512, 4, 64};
  const Buffer nan(device, act, shape), o(device, act, shape),
      log_sum_exp(device, DType::f32, Shape{1, 4, 512});
  Attention a;
  a.q = a.k = a.v = nan.tensor();
  a.o = o.tensor();
  a.log_sum_exp = log_sum_exp.tensor();
  device.ops().attention_forward(a);
}

TEST_P(AttentionTest, HeadSizes) {
  for (std::int64_t head_size : {1, 2, 3, 7, 16, 31, 32, 40, 64, 65, 96, 128, 200, 256})
    for (bool causal : {false, true}) {
      Case c{2, 19, 19, 2, 2, head_size};
      c.causal = causal;
      check(device(), act(), c);
    }
}

TEST_P(AttentionTest, Lengths) {
  poison_working_memory(device(), act());
  for (const auto& [queries, keys] : std::vector<std::pair<int, int>>{
           {1, 1}, {1, 2}, {2, 1}, {1, 200}, {3, 64}, {64, 64}, {65, 65}, {63, 129}, {130, 63}, {200, 67}})
    for (bool causal : {false, true}) {
      Case c{1, queries, keys, 1, 1, 24};
      c.causal = causal;
      check(device(), act(), c);
    }
}

// Lengths on both sides of the tiles' edges, in every width of tile: whole tiles, parts of tiles, and rows that see
// nothing.
TEST_P(AttentionTest, TileEdges) {
  struct Lengths {
    std::int64_t queries, keys;
    bool causal;
  };
  for (std::int64_t head_size : {32, 64, 96, 128, 256})
    for (const Lengths& lengths :
         {Lengths{128, 128, false}, Lengths{129, 129, true}, Lengths{65, 161, true}, Lengths{150, 33, true}}) {
      Case c{1, lengths.queries, lengths.keys, 2, 1, head_size};
      c.causal = lengths.causal;
      check(device(), act(), c);
    }
}

TEST_P(AttentionTest, PackedProjection) {
  Case c{2, 70, 70, 3, 3, 48};
  c.packed = c.causal = true;
  check(device(), act(), c);
}

TEST_P(AttentionTest, GroupedQueries) {
  for (std::int64_t kv_heads : {1, 2, 6}) {
    Case c{2, 33, 70, 6, kv_heads, 20};
    c.causal = true;
    check(device(), act(), c);
  }
}

TEST_P(AttentionTest, KeyLengths) {
  poison_working_memory(device(), act());
  for (bool causal : {false, true}) {
    Case c{5, 40, 130, 2, 1, 18};
    c.key_lengths = {130, 0, 1, 63, 65};
    c.causal = causal;
    check(device(), act(), c);
  }
}

TEST_P(AttentionTest, NoKeys) {
  Case c{2, 3, 0, 2, 2, 8};
  Problem p(device(), act(), c);
  p.forward();
  p.backward();
  for (double value : p.o().values<double>().values) EXPECT_EQ(value, 0);
  for (double value : p.gradient(0).values<double>().values) EXPECT_EQ(value, 0);
  for (double value : p.log_sum_exp().values<double>().values)
    EXPECT_EQ(value, -std::numeric_limits<double>::infinity());
}

TEST_P(AttentionTest, Dropout) {
  poison_working_memory(device(), act());
  for (const auto& [queries, keys] : std::vector<std::pair<int, int>>{{70, 72}, {70, 71}, {5, 130}, {3, 2}})
    for (bool causal : {false, true}) {
      Case c{2, queries, keys, 2, 1, 16};
      c.dropout = 0.3f;
      c.causal = causal;
      c.key_lengths = {keys, keys / 2};
      check(device(), act(), c);
    }
}

// All at once, over more than one tile, in every width of tile.
TEST_P(AttentionTest, DropoutOfGroupedQueries) {
  for (std::int64_t head_size : {24, 64, 72, 128, 136}) {
    Case c{2, 70, 131, 4, 2, head_size};
    c.dropout = 0.4f;
    c.causal = true;
    c.key_lengths = {131, 66};
    check(device(), act(), c);
  }
}

// Scores of thousands: nothing overflows, and what is exact in the input stays close.
TEST_P(AttentionTest, LargeScores) {
  for (double sign : {1.0, -1.0}) {
    Case c{1, 66, 67, 1, 1, 64};
    Problem p(device(), act(), c);
    // q = 32 everywhere, k = +-(30 + a little): scores of about 7680, a few apart.
    Array<double> q({1, 66, 1, 64}, 32), k({1, 67, 1, 64}, 30 * sign);
    for (std::int64_t j = 0; j < 67; ++j) k(0, j, 0, j % 64) += j % 5 / 4.0;
    const Buffer q_buffer(device(), act(), q), k_buffer(device(), act(), k);
    p.call().q = q_buffer.tensor();
    p.call().k = k_buffer.tensor();
    p.forward();
    p.backward();
    auto input = p.reference_input<double>();
    input.q = q_buffer.values<double>();
    input.k = k_buffer.values<double>();
    const auto exact = reference::attention_forward(input);
    const auto gradients = reference::attention_backward(input, p.d_o<double>());
    const double tolerance = act() == DType::bf16 ? 0.05 : 0.01;
    const auto expect_near = [&](const Array<double>& actual, const Array<double>& wanted, const char* what) {
      double largest = 1;
      for (double value : wanted.values) largest = std::max(largest, std::abs(value));
      for (std::int64_t i = 0; i < wanted.count(); ++i)
        ASSERT_NEAR(actual.values[i], wanted.values[i], tolerance * largest) << what << " " << i;
    };
    expect_near(p.o().values<double>(), exact.o, "o");
    expect_near(p.log_sum_exp().values<double>(), exact.log_sum_exp, "log_sum_exp");
    expect_near(p.gradient(0).values<double>(), gradients.dq, "dq");
    expect_near(p.gradient(1).values<double>(), gradients.dk, "dk");
    expect_near(p.gradient(2).values<double>(), gradients.dv, "dv");
  }
}

// Scores that rise along the keys: what was added up before shrinks with every tile, to nothing at last.
TEST_P(AttentionTest, RisingScores) {
  for (double step : {0.05, 0.5, 40.0}) {
    Case c{1, 70, 300, 1, 1, 64};
    Problem p(device(), act(), c);
    Array<double> q({1, 70, 1, 64}, 1), k({1, 300, 1, 64});
    for (std::int64_t j = 0; j < 300; ++j) k(0, j, 0, 0) = 8 * step * static_cast<double>(j);
    const Buffer q_buffer(device(), act(), q), k_buffer(device(), act(), k);
    p.call().q = q_buffer.tensor();
    p.call().k = k_buffer.tensor();
    p.forward();
    auto input = p.reference_input<double>();
    auto naive_input = p.reference_input<float>();
    input.q = q_buffer.values<double>(), naive_input.q = q_buffer.values<float>();
    input.k = k_buffer.values<double>(), naive_input.k = k_buffer.values<float>();
    const auto exact = reference::attention_forward(input);
    const auto naive = reference::attention_forward(naive_input);
    const std::string what = fmt::format("scores that rise by {}", step);
    // In f32 the exponents' rounding shows.
    expect_result(p.o(), exact.o, naive.o, what + ", o", act() == DType::f32 ? 300 * step : 0);
    expect_result(p.log_sum_exp(), exact.log_sum_exp, naive.log_sum_exp, what + ", log_sum_exp", 300 * step);
  }
}

// Decoding with a cache: a query alone, or a few of them, over the keys up to its own gives the bits that it
// has within the whole sequence.
TEST_P(AttentionTest, RowsDependOnWhatTheySeeAlone) {
  const std::int64_t T = 150, H = 4, D = 40;
  Case c{1, T, T, H, 2, D};
  c.causal = true;
  Problem whole(device(), act(), c);
  whole.forward();
  const auto o = whole.o().bytes(), log_sum_exp = whole.log_sum_exp().bytes();
  const std::int64_t row_bytes = H * D * size_of(act());
  for (std::int64_t last : {0, 1, 2, 15, 16, 62, 63, 64, 65, 127, 128, 149})
    for (std::int64_t count : {1, 2, 5, 70})
      for (bool by_length : {false, true}) {
        // With key_lengths the causal diagonal would not be the cache's, so a single query sees all keys
        // there.
        if (count > last + 1 || (by_length && count > 1)) continue;
        const std::int64_t first = last + 1 - count;
        Attention a = whole.call();
        const Buffer part(device(), act(), Shape{1, count, H, D}),
            sums(device(), DType::f32, Shape{1, H, count});
        const Buffer length(device(), std::vector<std::int32_t>{static_cast<std::int32_t>(last + 1)});
        a.q = a.q.slice(1, first, last + 1);
        a.o = part.tensor();
        a.log_sum_exp = sums.tensor();
        if (by_length) {
          a.key_lengths = length.tensor().as<std::int32_t>();
          a.causal = false;
        } else {
          a.k = a.k.slice(1, 0, last + 1);
          a.v = a.v.slice(1, 0, last + 1);
        }
        ops().attention_forward(a);
        EXPECT_EQ(std::memcmp(part.bytes().data(), o.data() + first * row_bytes, count * row_bytes), 0)
            << "queries " << first << " to " << last;
        for (std::int64_t h = 0; h < H; ++h)
          EXPECT_EQ(std::memcmp(sums.bytes().data() + h * count * 4, log_sum_exp.data() + (h * T + first) * 4,
                                count * 4),
                    0)
              << "log_sum_exp of queries " << first << " to " << last;
      }
}

// Grows with T, not with T^2, and a long sequence runs: some of its rows against the reference.
TEST_P(AttentionTest, MemoryIsLinearInTheLength) {
  const auto scratch = [&](std::int64_t T) { return ops().attention_backward_scratch(1, T, T, 2, 64); };
  EXPECT_EQ(scratch(16384) - scratch(8192), 2 * (scratch(8192) - scratch(4096)));
  EXPECT_LT(scratch(16384), 16 * 16384 * 64);

  const bool emulated = GetParam().backend->name.starts_with("emulated");  // a thousand times slower
  const std::int64_t T = emulated ? 4096 : 16384, D = 8;
  Case c{1, T, T, 1, 1, D};
  c.causal = true;
  Problem p(device(), act(), c);
  p.forward();
  p.backward();
  const Array<double> o = p.o().values<double>(), dq = p.gradient(0).values<double>();
  const auto input = p.reference_input<double>();
  const auto d_o = p.d_o<double>();
  for (std::int64_t i : {std::int64_t{0}, T / 4 - 1, T / 8 * 5 + 1, T - 1}) {
    reference::AttentionInput<double> row = input;
    row.q = Array<double>({1, 1, 1, D});
    row.k = Array<double>({1, i + 1, 1, D});
    row.v = row.k;
    Array<double> row_gradient({1, 1, 1, D});
    std::copy_n(input.q.values.begin() + i * D, D, row.q.values.begin());
    std::copy_n(d_o.values.begin() + i * D, D, row_gradient.values.begin());
    std::copy_n(input.k.values.begin(), (i + 1) * D, row.k.values.begin());
    std::copy_n(input.v.values.begin(), (i + 1) * D, row.v.values.begin());
    const auto exact = reference::attention_forward(row);
    const auto gradients = reference::attention_backward(row, row_gradient);
    const double tolerance = act() == DType::bf16 ? 0x1p-6 : 1e-5;
    double largest = 0, largest_gradient = 0;
    for (double value : exact.o.values) largest = std::max(largest, std::abs(value));
    for (double value : gradients.dq.values) largest_gradient = std::max(largest_gradient, std::abs(value));
    for (std::int64_t d = 0; d < D; ++d) {
      EXPECT_NEAR(o.values[i * D + d], exact.o.values[d], tolerance * largest) << "query " << i;
      EXPECT_NEAR(dq.values[i * D + d], gradients.dq.values[d],
                  4 * tolerance * std::max(largest_gradient, 0.1))
          << "query " << i;
    }
  }
}

TEST(AttentionBits, AnyNumberOfThreadsAndOrder) {
  for (DType act : {DType::f32, DType::bf16})
    for (std::int64_t head_size : {24, 128}) {
      Case c{2, 130, 150, 4, 2, head_size};
      c.causal = true;
      c.dropout = 0.1f;
      std::vector<std::vector<unsigned char>> first;
      for (const Backend& backend : backends_of_equal_bits()) {
        const auto device = backend.make();
        Problem p(*device, act, c);
        p.forward();
        p.backward();
        if (first.empty()) first = p.bytes();
        EXPECT_EQ(p.bytes(), first) << backend.name << " " << c.text();
      }
    }
}

// The definition itself: the reference's gradients are derivatives of its forward.
TEST(AttentionReference, GradientsAreDerivatives) {
  static constexpr std::uint32_t kStep = 3;
  Random random;
  reference::AttentionInput<double> input;
  input.q = random.normal({2, 5, 4, 3});
  input.k = random.normal({2, 6, 2, 3});
  input.v = random.normal({2, 6, 2, 3});
  input.scale = 0.7;
  input.causal = true;
  input.key_lengths = {6, 3};
  input.dropout = {0.25f, 99, &kStep, 4};
  const Array<double> d_o = random.normal({2, 5, 4, 3});
  const auto gradients = reference::attention_backward(input, d_o);
  const auto loss = [&] {
    const auto out = reference::attention_forward(input);
    double sum = 0;
    for (std::int64_t i = 0; i < d_o.count(); ++i) sum += out.o.values[i] * d_o.values[i];
    return sum;
  };
  const auto check_all = [&](Array<double>& x, const Array<double>& gradient, const char* name) {
    for (std::int64_t i = 0; i < x.count(); ++i) {
      const double value = x.values[i], step = 1e-5;
      x.values[i] = value + step;
      const double above = loss();
      x.values[i] = value - step;
      const double below = loss();
      x.values[i] = value;
      EXPECT_NEAR(gradient.values[i], (above - below) / (2 * step), 1e-8) << name << " " << i;
    }
  };
  check_all(input.q, gradients.dq, "dq");
  check_all(input.k, gradients.dk, "dk");
  check_all(input.v, gradients.dv, "dv");
}

}  // namespace
}  // namespace heddle
