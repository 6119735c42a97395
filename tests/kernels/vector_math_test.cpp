// The vector functions against libm in double, over a dense sample of all floats.
#include "kernels/cpu/vector_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/dropout_mask.h"
#include "kernels/philox.h"

namespace heddle::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The distance of the float from the exact value in units of the last place of a float of that size.
double ulps(float actual, double exact) {
  const double rounded = std::abs(static_cast<float>(exact));
  const int exponent = rounded < 0x1p-126 ? -126 : std::ilogb(rounded);
  return std::abs(actual - exact) / std::ldexp(1.0, exponent - 23);
}

// Every `stride`-th float of [0, limit], positive and negative.
std::vector<float> floats_up_to(float limit, std::uint32_t stride) {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits <= std::bit_cast<std::uint32_t>(limit); bits += stride)
    for (float sign : {1.0f, -1.0f}) values.push_back(sign * std::bit_cast<float>(bits));
  while (values.size() % kLanes != 0) values.push_back(0);
  return values;
}

template <typename Function, typename Check>
void for_each_value(const std::vector<float>& inputs, Function function, Check check) {
  for (std::size_t i = 0; i < inputs.size(); i += kLanes) {
    const FloatVector y = function(load(&inputs[i]));
    for (int lane = 0; lane < kLanes; ++lane) check(inputs[i + lane], y[lane]);
  }
}

TEST(VectorMath, Exp) {
  double worst = 0;
  for_each_value(
      floats_up_to(110.0f, 509), [](FloatVector x) { return exp(x); },
      [&](float x, float y) {
        const double exact = std::exp(double(x));
        if (exact > std::numeric_limits<float>::max())
          ASSERT_TRUE(y == kInfinity || ulps(y, exact) <= 1.3) << x;
        else
          worst = std::max(worst, ulps(y, exact));
      });
  EXPECT_LE(worst, 1.3);
  RecordProperty("worst_ulps", std::to_string(worst));
}

TEST(VectorMath, ExpOfSpecialValues) {
  for (float x : {-kInfinity, -1e30f, -104.5f}) EXPECT_EQ(exp(broadcast(x))[0], 0.0f);
  for (float x : {kInfinity, 1e30f, 88.8f}) EXPECT_EQ(exp(broadcast(x))[0], kInfinity);
  EXPECT_EQ(exp(broadcast(0.0f))[0], 1.0f);
  EXPECT_TRUE(std::isnan(exp(broadcast(NAN))[0]));
}

TEST(VectorMath, Exp2) {
  double worst = 0;
  for_each_value(
      floats_up_to(127.0f, 509), [](FloatVector x) { return exp2(x); },
      [&](float x, float y) { worst = std::max(worst, ulps(y, std::exp2(double(x)))); });
  EXPECT_LE(worst, 1.0);
  RecordProperty("worst_ulps", std::to_string(worst));
  for (float x : {-kInfinity, -1e30f, -151.0f}) EXPECT_EQ(exp2(broadcast(x))[0], 0.0f);
  EXPECT_EQ(exp2(broadcast(0.0f))[0], 1.0f);
  EXPECT_TRUE(std::isnan(exp2(broadcast(NAN))[0]));
}

TEST(VectorMath, Reciprocal) {
  double worst = 0;
  std::vector<float> inputs;
  for (std::uint32_t bits = 0; bits < 1u << 23; bits += 7)
    for (int exponent : {0, 1, 50, 99}) inputs.push_back(std::ldexp(1.0f + bits * 0x1p-23f, exponent));
  inputs.resize(inputs.size() / kLanes * kLanes);
  for_each_value(
      inputs, [](FloatVector x) { return reciprocal(x); },
      [&](float x, float y) { worst = std::max(worst, ulps(y, 1 / double(x))); });
  EXPECT_LE(worst, 1.0);
}

TEST(VectorMath, Logistic) {
  double worst = 0, worst_complement = 0;
  const std::vector<float> inputs = floats_up_to(87.0f, 509);
  for_each_value(
      inputs, [](FloatVector x) { return logistic(x).value; },
      [&](float x, float y) { worst = std::max(worst, ulps(y, 1 / (1 + std::exp(-double(x))))); });
  for_each_value(
      inputs, [](FloatVector x) { return logistic(x).complement; },
      [&](float x, float y) {
        worst_complement = std::max(worst_complement, ulps(y, 1 / (1 + std::exp(double(x)))));
      });
  EXPECT_LE(worst, 3.0);
  EXPECT_LE(worst_complement, 3.0);
  RecordProperty("worst_ulps", std::to_string(worst));
  EXPECT_TRUE(std::isnan(logistic(broadcast(NAN)).value[0]));
}

TEST(VectorMath, NormalDistribution) {
  double worst = 0, worst_tail = 0, worst_density = 0;
  for (float limit : {13.0f}) {
    const std::vector<float> inputs = floats_up_to(limit, 509);
    for_each_value(
        inputs, [](FloatVector x) { return normal_distribution(x).cumulative; },
        [&](float x, float y) {
          const double exact = std::erfc(-x * std::sqrt(0.5)) / 2, relative = std::abs(y / exact - 1);
          if (x >= -5)
            worst = std::max(worst, relative);
          else
            worst_tail = std::max(worst_tail, relative * 25 / (double(x) * x));
        });
    for_each_value(
        inputs, [](FloatVector x) { return normal_distribution(x).density; },
        [&](float x, float y) {
          const double exact = std::exp(-double(x) * x / 2) * 0.39894228040143267794;
          worst_density =
              std::max(worst_density, std::abs(y / exact - 1) / std::max(1.0, double(x) * x / 25));
        });
  }
  EXPECT_LE(worst, 1.2e-6);
  EXPECT_LE(worst_tail, 1.2e-6);
  EXPECT_LE(worst_density, 1.2e-6);
  RecordProperty("worst_relative_error", std::to_string(worst * 1e6) + "e-6");
  EXPECT_TRUE(std::isnan(normal_distribution(broadcast(NAN)).cumulative[0]));
}

// Both neighbours of every rounding boundary, for every upper half: the vector conversion is bfloat16's.
TEST(VectorMath, Bfloat16Conversions) {
  for (std::uint32_t upper = 0; upper <= 0xffff; ++upper) {
    float values[kLanes];
    const std::uint32_t lower[8] = {0, 1, 0x1234, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};
    for (int i = 0; i < kLanes; ++i) values[i] = std::bit_cast<float>(upper << 16 | lower[i % 8]);
    bfloat16 stored[kLanes];
    store(stored, load(values));
    const FloatVector loaded = load(stored);
    for (int i = 0; i < kLanes; ++i) {
      ASSERT_EQ(stored[i].bits, bfloat16(values[i]).bits) << std::hex << upper;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(loaded[i]), std::uint32_t{stored[i].bits} << 16);
    }
  }
}

TEST(VectorMath, PartsTouchOnlyTheirLanes) {
  for (int lanes = 1; lanes < kLanes; ++lanes) {
    std::vector<float> from(lanes, 2.5f), to(kLanes, -1.0f);  // ASan guards the end of `from`
    const FloatVector v = load(from.data(), Part{lanes});
    store(to.data(), v, Part{lanes});
    const FloatVector padded = with_rest(v, 9.0f, Part{lanes});
    for (int i = 0; i < kLanes; ++i) {
      EXPECT_EQ(v[i], i < lanes ? 2.5f : 0.0f);
      EXPECT_EQ(to[i], i < lanes ? 2.5f : -1.0f);
      EXPECT_EQ(padded[i], i < lanes ? 2.5f : 9.0f);
    }
  }
}

TEST(VectorMath, PhiloxWordsAreTheScalarOnes) {
  for (std::uint64_t first_block : {0ull, 0xfffffffeull, 0x123456789abcdefull}) {
    const std::uint64_t key = 0xfedcba9876543210ull;
    std::uint32_t words[kPhiloxWords];
    philox_words(PhiloxKeys(key), first_block, 0x89abcdefu, 77, words);
    for (std::uint64_t i = 0; i < kPhiloxWords / 4; ++i) {
      const std::uint64_t block = first_block + i;
      const PhiloxBlock expected = philox(
          key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0x89abcdefu, 77});
      for (int w = 0; w < 4; ++w) ASSERT_EQ(words[4 * i + w], expected[w]);
    }
  }
}

}  // namespace
}  // namespace heddle::cpu
