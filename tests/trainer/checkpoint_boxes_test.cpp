// Boxes against the plainest definition: marking elements one by one.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "kernels/error.h"
#include "trainer/checkpoint/boxes.h"

namespace heddle {
namespace {

std::vector<std::int64_t> elements_of(const Shape& container, const Box& box) {
  std::vector<std::int64_t> elements;
  for (std::int64_t i = 0; i < box.extent.count(); ++i) {
    std::int64_t rest = i, element = 0, stride = 1;
    for (int d = container.rank() - 1; d >= 0; --d) {
      element += (box.offset[d] + rest % box.extent[d]) * stride;
      rest /= box.extent[d];
      stride *= container[d];
    }
    elements.push_back(element);
  }
  return elements;
}

Box random_box(const Shape& container, std::mt19937& random) {
  Box box = whole(container);
  for (int d = 0; d < container.rank(); ++d) {
    const std::int64_t begin = static_cast<std::int64_t>(random() % static_cast<unsigned>(container[d]));
    box.offset[d] = begin;
    box.extent[d] = 1 + static_cast<std::int64_t>(random() % static_cast<unsigned>(container[d] - begin));
  }
  return box;
}

// Splits at random planes until it is tired.
void split(const Box& box, std::mt19937& random, int depth, std::vector<Box>& into) {
  const int dim = static_cast<int>(random() % static_cast<unsigned>(box.extent.rank()));
  if (depth == 0 || box.extent[dim] < 2) return into.push_back(box);
  Box lower = box, upper = box;
  lower.extent[dim] = 1 + static_cast<std::int64_t>(random() % static_cast<unsigned>(box.extent[dim] - 1));
  upper.offset[dim] += lower.extent[dim];
  upper.extent[dim] -= lower.extent[dim];
  split(lower, random, depth - 1, into);
  split(upper, random, depth - 1, into);
}

TEST(Boxes, PartitionsAreRecognisedAndSpoiltOnesAreNot) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    const Shape shape{1 + static_cast<int>(random() % 9), 1 + static_cast<int>(random() % 9), 7};
    std::vector<Box> boxes;
    split(whole(shape), random, 5, boxes);
    std::shuffle(boxes.begin(), boxes.end(), random);
    EXPECT_TRUE(tile_exactly(whole(shape), boxes));

    std::vector<Box> spoilt = boxes;
    spoilt.pop_back();
    EXPECT_FALSE(tile_exactly(whole(shape), spoilt)) << "a hole";
    spoilt = boxes;
    spoilt.push_back(boxes[random() % boxes.size()]);
    EXPECT_FALSE(tile_exactly(whole(shape), spoilt)) << "an overlap";
    spoilt = boxes;
    Box& moved = spoilt[random() % spoilt.size()];
    const Box other = random_box(shape, random);
    if (moved == other) continue;
    moved = other;
    EXPECT_FALSE(tile_exactly(whole(shape), spoilt)) << "a hole and an overlap";
  }
}

TEST(Boxes, EdgesOfTiling) {
  EXPECT_TRUE(tile_exactly(whole({}), {whole({})}));
  EXPECT_FALSE(tile_exactly(whole({}), {}));
  EXPECT_FALSE(tile_exactly(whole({}), {whole({}), whole({})}));
  EXPECT_TRUE(tile_exactly(whole({0, 3}), {}));
  EXPECT_FALSE(tile_exactly(whole({2, 3}), {}));
  // A hole whose volume an overlap makes up for.
  EXPECT_FALSE(tile_exactly(whole({4}), {{{0}, {2}}, {{1}, {2}}}));
  EXPECT_FALSE(tile_exactly(whole({2, 2}), {{{0, 0}, {2, 1}}, {{0, 0}, {1, 2}}}));
  // Ten thousand pieces are no burden, even where every cut frees only one.
  std::vector<Box> many;
  for (std::int64_t i = 0; i < 10000; ++i) many.push_back({{i}, {1}});
  EXPECT_TRUE(tile_exactly(whole({10000}), many));
}

TEST(Boxes, SlabsCoverABoxInOrderWithinTheirBounds) {
  std::mt19937 random(2);
  for (int round = 0; round < 500; ++round) {
    const Shape container{1 + static_cast<int>(random() % 6), 1 + static_cast<int>(random() % 6),
                          1 + static_cast<int>(random() % 9)};
    const Box box = random_box(container, random);
    const std::int64_t max_span = 1 + static_cast<std::int64_t>(random() % 40);
    const std::int64_t direct_run = round % 3 == 0 ? INT64_MAX : 1 + static_cast<std::int64_t>(random() % 8);
    std::vector<std::int64_t> visited;
    for_each_slab(container, box, max_span, direct_run, [&](const Slab& slab) {
      EXPECT_LE(slab.span, max_span);
      const std::vector<std::int64_t> elements = elements_of(container, slab.box);
      EXPECT_EQ(slab.first, elements.front());
      EXPECT_EQ(slab.first + slab.span - 1, elements.back());
      EXPECT_EQ(slab.dense(), slab.span == static_cast<std::int64_t>(elements.size()));
      visited.insert(visited.end(), elements.begin(), elements.end());
    });
    EXPECT_EQ(visited, elements_of(container, box));
  }
}

// A column of a matrix with long rows: what lies between is not read.
TEST(Boxes, LongRunsAreVisitedAlone) {
  int slabs = 0;
  for_each_slab({10, 1000}, {{0, 100}, {10, 200}}, 1 << 20, 200, [&](const Slab& slab) {
    ++slabs;
    EXPECT_TRUE(slab.dense());
  });
  EXPECT_EQ(slabs, 10);
  slabs = 0;
  for_each_slab({10, 1000}, {{0, 100}, {10, 200}}, 1 << 20, 201, [&](const Slab&) { ++slabs; });
  EXPECT_EQ(slabs, 1);
}

TEST(Boxes, CopyHostFollowsStrides) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const Shape container{1 + static_cast<int>(random() % 5), 1 + static_cast<int>(random() % 5),
                          1 + static_cast<int>(random() % 5)};
    const Box box = random_box(container, random);
    std::vector<std::int32_t> source(static_cast<std::size_t>(container.count()));
    for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::int32_t>(i);
    Tensor part(source.data(), DType::i32, container);
    for (int d = 0; d < 3; ++d) part = part.slice(d, box.offset[d], box.offset[d] + box.extent[d]);
    std::vector<std::int32_t> packed(static_cast<std::size_t>(box.extent.count()));
    copy_host(part, Tensor(packed.data(), DType::i32, box.extent));
    EXPECT_EQ(std::vector<std::int64_t>(packed.begin(), packed.end()), elements_of(container, box));
  }
  float value = 1.00390625f;  // halfway between two bf16: to even
  bfloat16 half{};
  copy_host(Tensor(&value, DType::f32, {}), Tensor(&half, DType::bf16, {}));
  EXPECT_EQ(half.bits, 0x3f80);
  EXPECT_THROW(copy_host(Tensor(&value, DType::f32, {}), Tensor(&half, DType::u8, {})), Error);
}

TEST(Boxes, CountsThatDoNotFitAreNoticed) {
  EXPECT_EQ(checked_count({3, 5}, DType::f32), 15);
  EXPECT_EQ(checked_count({}, DType::f32), 1);
  EXPECT_EQ(checked_count({0, 5}, DType::f32), 0);
  EXPECT_EQ(checked_count({std::int64_t{1} << 60, 2}, DType::f32), std::nullopt);
  EXPECT_EQ(checked_count({std::int64_t{1} << 61}, DType::f32), std::nullopt);
  EXPECT_EQ(checked_count({-1}, DType::f32), std::nullopt);
  EXPECT_FALSE(contains({4}, {{INT64_MAX}, {INT64_MAX}}));
  EXPECT_FALSE(contains({4}, {{3}, {2}}));
  EXPECT_FALSE(contains({4}, {{-1}, {2}}));
  EXPECT_FALSE(contains({4}, {{0, 0}, {1, 1}}));
  EXPECT_TRUE(contains({4}, {{3}, {1}}));
}

}  // namespace
}  // namespace heddle
