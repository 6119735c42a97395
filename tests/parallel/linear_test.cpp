// Linear layers on one rank: weights stored either way are the same layer.
#include "parallel/linear.h"

#include <gtest/gtest.h>

#include <random>

#include "kernels/cpu/device.h"
#include "parallel/communicator.h"
#include "parallel/mesh.h"
#include "parallel/tape.h"

namespace heddle {
namespace {

constexpr std::int64_t kRows = 5, kIn = 6, kOut = 7;

class Linear : public testing::Test {
 protected:
  Tensor tensor(Shape shape, bool random = true) {
    memory_.push_back(device_.allocate(static_cast<std::size_t>(shape.count()) * 4));
    const Tensor t(memory_.back().data(), DType::f32, shape);
    for (std::int64_t i = 0; i < t.count(); ++i) t.as<float>()[i] = random ? normal_(engine_) : 0;
    return t;
  }

  static std::vector<float> values(const Tensor& t) { return {t.as<float>(), t.as<float>() + t.count()}; }
  static Tensor transposed_into(const Tensor& from, const Tensor& to) {
    for (std::int64_t r = 0; r < from.size(0); ++r)
      for (std::int64_t c = 0; c < from.size(1); ++c)
        to.as<float>()[c * from.size(0) + r] = from.as<float>()[r * from.size(1) + c];
    return to;
  }
  static void expect_near(const Tensor& a, const Tensor& b, const char* what) {
    ASSERT_EQ(a.shape, b.shape);
    for (std::int64_t i = 0; i < a.count(); ++i)
      EXPECT_NEAR(a.as<float>()[i], b.as<float>()[i], 1e-5) << what << " " << i;
  }

  CpuDevice device_{2};
  Mesh mesh_{Layout{}, 0, make_self_communicator("world", device_), make_self_communicator("data", device_),
             make_self_communicator("tensor", device_)};
  Tape tape_;
  Context context_{
      .device = device_, .ops = device_.ops(), .mesh = mesh_, .tape = tape_, .act = DType::f32, .training = true};

 private:
  std::mt19937 engine_{1};
  std::normal_distribution<float> normal_;
  std::vector<Memory> memory_;
};

TEST_F(Linear, LayoutsOfTheWeightAreOneLayer) {
  ParameterTable table(1, 0);
  const ColumnParallelLinear in_out(table, {{"a"}, kIn, kOut, true, WeightLayout::in_out, 1, {}}),
      out_in(table, {{"b"}, kIn, kOut, true, WeightLayout::out_in, 1, {}});
  table.allocate(device_, DType::f32, ParameterTable::Purpose::training);
  device_.ops().fill(table.flat_gradients(), 0);
  const Tensor weight = tensor({kIn, kOut}), bias = tensor({kOut});
  device_.ops().copy(weight, table.find("a.weight")->master);
  transposed_into(weight, table.find("b.weight")->master);
  for (const char* name : {"a.bias", "b.bias"}) device_.ops().copy(bias, table.find(name)->master);

  const Tensor x = tensor({kRows, kIn}), dy = tensor({kRows, kOut});
  const Tensor y[] = {tensor({kRows, kOut}), tensor({kRows, kOut})},
               dx[] = {tensor({kRows, kIn}), tensor({kRows, kIn})};
  in_out.forward(context_, x, y[0]);
  out_in.forward(context_, x, y[1]);
  for (int pass = 0; pass < 2; ++pass) {  // gradients are added
    in_out.backward(context_, x, dy, dx[0]);
    out_in.backward(context_, x, dy, dx[1]);
  }
  expect_near(y[0], y[1], "y");
  expect_near(dx[0], dx[1], "dx");
  const Tensor transposed = tensor({kOut, kIn});
  expect_near(transposed_into(table.find("a.weight")->gradient, transposed), table.find("b.weight")->gradient, "dW");
  expect_near(table.find("a.bias")->gradient, table.find("b.bias")->gradient, "db");
  const Tensor twice = tensor({kOut}, false);
  for (std::int64_t i = 0; i < kRows * kOut; ++i) twice.as<float>()[i % kOut] += 2 * dy.as<float>()[i];
  expect_near(table.find("a.bias")->gradient, twice, "db of dy");
}

// Q, K and V under their own names are one product with the bits of the packed one, also where a part's size would
// leave padding behind it.
TEST_F(Linear, JoinedPartsAreOneLayer) {
  constexpr std::int64_t kPart = 5;
  ParameterTable table(1, 0);
  const ColumnParallelLinear whole(table, {{"w"}, kIn, 3 * kPart, true, WeightLayout::out_in, 1, {}}),
      parts(table, {{"q", "k", "v"}, kIn, 3 * kPart, true, WeightLayout::out_in, 1, Initializer::normal(1)});
  table.allocate(device_, DType::f32, ParameterTable::Purpose::training);
  table.initialize(device_, 3);
  device_.ops().fill(table.flat_gradients(), 0);
  const auto parts_of = [&](const char* kind, std::int64_t each, auto field, const auto& visit) {
    std::int64_t part = 0;
    for (const char* name : {"q", "k", "v"}) {
      const Tensor one = table.find(std::string(name) + kind)->*field,
                   all = table.find(std::string("w") + kind)->*field;
      for (std::int64_t i = 0; i < each; ++i) visit(one.as<float>()[i], all.as<float>()[part * each + i]);
      ++part;
    }
  };
  const auto copy_into_whole = [](float& one, float& all) { all = one; };
  parts_of(".weight", kPart * kIn, &Parameter::master, copy_into_whole);
  parts_of(".bias", kPart, &Parameter::master, copy_into_whole);
  const Tensor x = tensor({kRows, kIn}), dy = tensor({kRows, 3 * kPart});
  const Tensor y[] = {tensor({kRows, 3 * kPart}), tensor({kRows, 3 * kPart})},
               dx[] = {tensor({kRows, kIn}), tensor({kRows, kIn})};
  whole.forward(context_, x, y[0]);
  parts.forward(context_, x, y[1]);
  whole.backward(context_, x, dy, dx[0]);
  parts.backward(context_, x, dy, dx[1]);
  expect_near(y[0], y[1], "y");
  expect_near(dx[0], dx[1], "dx");
  const auto expect_same = [](float& one, float& all) { EXPECT_EQ(one, all); };
  parts_of(".weight", kPart * kIn, &Parameter::gradient, expect_same);
  parts_of(".bias", kPart, &Parameter::gradient, expect_same);
  EXPECT_NE(table.find("q.weight")->gradient.as<float>()[0], 0.0f);
}

TEST_F(Linear, RowBackwardGoesThroughTheActivationBefore) {
  for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in}) {
    ParameterTable table(1, 0);
    const RowParallelLinear linear(table, {{"a"}, kIn, kOut, false, layout, 1, Initializer::normal(1)});
    table.allocate(device_, DType::f32, ParameterTable::Purpose::training);
    table.initialize(device_, 1);
    const Tensor before = tensor({kRows, kIn}), x = tensor({kRows, kIn}), dy = tensor({kRows, kOut});
    const Tensor together = tensor({kRows, kIn}), apart = tensor({kRows, kIn});
    linear.backward(context_, x, dy, together, Activation::gelu_tanh, before);
    linear.backward(context_, x, dy, apart);
    device_.ops().activation_backward(Activation::gelu_tanh, before, apart, apart);
    EXPECT_EQ(values(together), values(apart));
  }
}

}  // namespace
}  // namespace heddle
