#include "kernels/reference/stochastic_rounding.h"

#include <cmath>
#include <limits>

#include "tests/kernels/op_test.h"

namespace heddle {
namespace {

using namespace test;

constexpr double kLargest = 0x1.fep127;  // of bf16

// Has no activations: once per backend.
class StochasticRoundingTest : public testing::TestWithParam<OpCase> {
 protected:
  StochasticRoundingTest() : device_(GetParam().backend->make()) {}
  Device& device() { return *device_; }

  // Rounds `from` where the parameters of `places` lie, at `offset` elements behind an aligned address.
  std::vector<float> round(const Array<double>& from, const std::vector<GlobalPlace>& places,
                           std::uint32_t update, std::int64_t offset = 0) {
    const std::int64_t count = from.count();
    Array<double> shifted({offset + count});
    std::copy(from.values.begin(), from.values.end(), shifted.values.begin() + offset);
    const Buffer source(device(), DType::f32, shifted), target(device(), DType::bf16, Shape{offset + count});
    const Memory memory = upload(places);
    const Scalar<AdamWStep> step(device(), step_of(update));
    StochasticRounding r;
    r.from = source.tensor().slice(0, offset, offset + count);
    r.to = target.tensor().slice(0, offset, offset + count);
    r.places = static_cast<const GlobalPlace*>(memory.data());
    r.place_count = static_cast<std::int32_t>(places.size());
    r.step = step.get();
    device().ops().round_stochastically(r);
    const std::vector<float> all = target.values<float>().values;
    for (std::int64_t i = 0; i < offset; ++i) EXPECT_TRUE(std::isnan(all[i])) << "written in front";
    return {all.begin() + offset, all.end()};
  }

  static AdamWStep step_of(std::uint32_t update) {
    AdamWStep step{};
    step.update = update;
    return step;
  }

  Memory upload(const std::vector<GlobalPlace>& places) {
    const std::size_t bytes = places.size() * sizeof(GlobalPlace);
    Memory memory = device().allocate(bytes);
    device().copy_to_device(device().compute_stream(),
                            Tensor(memory.data(), DType::u8, {static_cast<std::int64_t>(bytes)}),
                            places.data());
    device().compute_stream().synchronize();
    return memory;
  }

 private:
  std::unique_ptr<Device> device_;
};

std::vector<OpCase> cases() {
  std::vector<OpCase> cases;
  for (const Backend& backend : all_backends()) cases.push_back({&backend, DType::bf16});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(, StochasticRoundingTest, testing::ValuesIn(cases()), case_name);

GlobalPlace whole(std::int64_t count, std::uint64_t key = 77) {
  return {0, std::max<std::int64_t>(count, 1), 0, 0, key};
}

// What the reference makes of element i of `from`.
float expected(const Array<double>& from, std::int64_t i, const std::vector<GlobalPlace>& places,
               std::uint32_t update) {
  std::size_t p = places.size() - 1;
  while (places[p].begin > i) --p;
  const GlobalPlace& place = places[p];
  const std::int64_t local = i - place.begin;
  const std::int64_t number = place.first + local / place.run * place.stride + local % place.run;
  return static_cast<float>(reference::round_stochastically<double>(
      static_cast<float>(from(i)),
      reference::rounding_number(place.key, update, static_cast<std::uint64_t>(number))));
}

// Bit by bit the reference, on every backend: so the backends are bit-equal too.
TEST_P(StochasticRoundingTest, IsTheReference) {
  Random random;
  for (const std::int64_t count : {0, 1, 7, 8, 9, 64, 1000, 100003})
    for (const std::int64_t offset : {0, 3}) {
      const Array<double> from = random.normal({count});
      const std::vector<float> rounded = round(from, {whole(count)}, 5, offset);
      for (std::int64_t i = 0; i < count; ++i)
        ASSERT_EQ(rounded[i], expected(from, i, {whole(count)}, 5))
            << i << " of " << count << " at " << offset;
    }
}

TEST_P(StochasticRoundingTest, FindsEachParametersGlobalElements) {
  Random random;
  const std::int64_t count = 70000;
  const Array<double> from = random.normal({count});
  // Whole parameters, runs of one element, of odd lengths, of many vectors, from odd elements, beyond 2^32
  // blocks; parameters that are joined may begin anywhere.
  const std::vector<GlobalPlace> places = {{0, 64, 0, 0, 1},
                                           {19, 64, 0, 0, 8},
                                           {22, 64, 0, 0, 9},
                                           {64, 1, 3, 2, 2},
                                           {128, 5, 15, 5, 3},
                                           {1024, 384, 1152, 384, 4},
                                           {20032, 30001, 60002, 30001, 5},
                                           {50048, 1 << 20, 0, (std::int64_t{1} << 40) + 3, 6},
                                           {60032, 512, 1024, 0, 7}};
  for (const std::uint32_t update : {0u, 1u, 0xffffffffu}) {
    const std::vector<float> rounded = round(from, places, update);
    for (std::int64_t i = 0; i < count; ++i) ASSERT_EQ(rounded[i], expected(from, i, places, update)) << i;
  }
}

// Of a value that lies a part of 2^-16 on its way between two bf16, that part of the roundings goes up: the
// mean of n of them is within five standard deviations, half a unit / sqrt(n) each at most.
TEST_P(StochasticRoundingTest, IsUnbiasedAndTakesNeighboursOnly) {
  constexpr std::int64_t kCount = 20000;
  for (const double way : {0.0, 0x1p-16, 0.1, 0.5, 0.75, 1 - 0x1p-16})
    for (const double scale : {1.0, -1.0, 0x1p100, -0x1p-120, 0x1p-130}) {
      // 1 and its neighbour are 2^-7 apart; 2^-130 has a unit of 2^-133.
      const double unit = scale == 0x1p-130 ? 0x1p-3 : 0x1p-7;
      const float value = static_cast<float>(scale * (1 + way * unit));
      const double exact_way = (value / scale - 1) / unit;
      double ups = 0;
      for (const std::uint32_t update : {1u, 2u})
        for (const float r : round(Array<double>({kCount}, value), {whole(kCount)}, update)) {
          const bool up = r == static_cast<float>(scale * (1 + unit));
          ASSERT_TRUE(up || r == static_cast<float>(scale)) << value << " became " << r;
          ups += up;
        }
      const double n = 2.0 * kCount;
      EXPECT_NEAR(ups / n, exact_way, 5 * std::sqrt(exact_way * (1 - exact_way) / n)) << value;
    }
}

TEST_P(StochasticRoundingTest, KeepsWhatIsExactFiniteOrNotANumber) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const double beyond = std::numeric_limits<float>::max(),
               smallest = std::numeric_limits<float>::denorm_min();
  Array<double> from({64 * 12});
  const std::vector<double> values = {0.0,      -0.0,   1.0,     -0x1.fep5, kInfinite, -kInfinite,
                                      kLargest, beyond, -beyond, 0x1p-133,  smallest,  std::nan("")};
  for (std::int64_t i = 0; i < from.count(); ++i) from(i) = values[i % values.size()];
  int raised = 0;
  for (const std::uint32_t update : {1u, 2u, 3u}) {
    const std::vector<float> rounded = round(from, {whole(from.count())}, update);
    for (std::int64_t i = 0; i < from.count(); ++i) {
      const double value = from(i);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(rounded[i]));
      } else if (value == smallest) {  // a part of 2^-16 goes up
        EXPECT_TRUE(rounded[i] == 0 || rounded[i] == 0x1p-133f) << rounded[i];
        raised += rounded[i] != 0;
      } else {
        EXPECT_EQ(rounded[i],
                  static_cast<float>(std::isinf(value) ? value : std::clamp(value, -kLargest, kLargest)));
        EXPECT_EQ(std::signbit(rounded[i]), std::signbit(value)) << value;
      }
    }
  }
  EXPECT_LE(raised, 2);
}

TEST_P(StochasticRoundingTest, DrawsAnewForEveryUpdateParameterAndElement) {
  const std::int64_t count = 4096;
  const Array<double> half({count}, 1 + 0x1p-8);
  const std::vector<float> base = round(half, {whole(count)}, 1);
  // Independent draws of the same probability agree in half of the elements.
  const auto agreement = [&](const std::vector<float>& other, std::int64_t shift) {
    double same = 0;
    for (std::int64_t i = 0; i + shift < count; ++i) same += base[i] == other[i + shift];
    return same / static_cast<double>(count - shift);
  };
  const double bound = 5 * 0.5 / std::sqrt(4000.0);
  EXPECT_EQ(agreement(round(half, {whole(count)}, 1), 0), 1);
  EXPECT_NEAR(agreement(round(half, {whole(count)}, 2), 0), 0.5, bound);
  EXPECT_NEAR(agreement(round(half, {whole(count, 78)}, 1), 0), 0.5, bound);
  for (const std::int64_t shift : {1, 2, 8}) EXPECT_NEAR(agreement(base, shift), 0.5, bound) << shift;
}

TEST_P(StochasticRoundingTest, AStoppedRunChangesNothing) {
  const Buffer from(device(), DType::f32, Array<double>({100}, 1.001)), to(device(), DType::bf16, Shape{100});
  const auto before = to.bytes();
  const Memory places = upload({whole(100)});
  AdamWStep stopped = step_of(3);
  stopped.skip = 1;
  const Scalar<AdamWStep> step(device(), stopped);
  device().ops().round_stochastically(
      {from, to, static_cast<const GlobalPlace*>(places.data()), 1, step.get()});
  EXPECT_EQ(to.bytes(), before);
}

}  // namespace
}  // namespace heddle
