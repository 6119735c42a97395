// Every collective on every group that a mesh makes, bit for bit.
#include <cmath>

#include "../collective_cases.h"
#include "kernels/cpu/device.h"
#include "kernels/error.h"
#include "mpi_test.h"
#include "parallel/mpi_communicator.h"

namespace heddle::test {
namespace {

class Collectives : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    device = make_cpu_device(1);
    mesh = session().make_mesh({session().size(), 1}, *device);
  }
  static void TearDownTestSuite() {
    mesh.reset();
    device.reset();
  }
  Communicator& world() { return mesh->world(); }
  Stream& stream() { return device->compute_stream(); }
  int rank() { return world().rank(); }
  int size() { return world().size(); }

  template <typename T>
  void all_reduce(std::int64_t n, Reduction reduction) {
    auto x = contributions<T>(rank(), n, 1);
    world().all_reduce(tensor_of(x), reduction, stream(), "x");
    EXPECT_TRUE(same_bits(x, expected_reduction<T>(size(), 0, n, 1, reduction))) << n;
  }
  template <typename T>
  void reduce_scatter(std::int64_t n, bool in_place) {
    auto in = contributions<T>(rank(), n * size(), 2);
    std::vector<T> out(static_cast<std::size_t>(n));
    const Tensor whole = tensor_of(in);
    const Tensor mine = whole.slice(0, rank() * n, (rank() + 1) * n);
    world().reduce_scatter(whole, in_place ? mine : tensor_of(out), stream(), "x");
    if (in_place && n > 0) std::memcpy(out.data(), mine.data, mine.bytes());
    EXPECT_TRUE(same_bits(out, expected_reduction<T>(size(), rank() * n, n, 2, Reduction::sum))) << n;
  }
  template <typename T>
  void all_gather(std::int64_t n, bool in_place) {
    auto in = contributions<T>(rank(), n, 3);
    std::vector<T> out(static_cast<std::size_t>(n * size())), expected;
    const Tensor whole = tensor_of(out);
    const Tensor mine = whole.slice(0, rank() * n, (rank() + 1) * n);
    if (in_place && n > 0) std::memcpy(mine.data, in.data(), mine.bytes());
    world().all_gather(in_place ? mine : tensor_of(in), whole, stream(), "x");
    for (int r = 0; r < size(); ++r) {
      const auto part = contributions<T>(r, n, 3);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    EXPECT_TRUE(same_bits(out, expected)) << n;
  }

  static std::unique_ptr<Device> device;
  static std::unique_ptr<Mesh> mesh;
};

std::unique_ptr<Device> Collectives::device;
std::unique_ptr<Mesh> Collectives::mesh;

TEST_F(Collectives, TakeTheTransportThatWasAskedFor) {
  if (size() == 1) GTEST_SKIP() << "one rank has no transport";
  const auto& communicator = dynamic_cast<MpiCommunicator&>(world());
  EXPECT_STREQ(communicator.transport(), messages_only() ? "MPI messages" : "shared memory");
}

TEST_F(Collectives, AllReduce) {
  for (const std::int64_t n : kSizes) {
    all_reduce<float>(n, Reduction::sum);
    all_reduce<bfloat16>(n, Reduction::sum);
    all_reduce<std::int32_t>(n, Reduction::sum);
    all_reduce<float>(n, Reduction::max);
    all_reduce<bfloat16>(n, Reduction::max);
    all_reduce<std::int32_t>(n, Reduction::max);
  }
}

TEST_F(Collectives, ReduceScatter) {
  for (const std::int64_t n : kSizes)
    for (const bool in_place : {false, true}) {
      reduce_scatter<float>(n, in_place);
      reduce_scatter<bfloat16>(n, in_place);
      reduce_scatter<std::int32_t>(n, in_place);
    }
}

TEST_F(Collectives, AllGather) {
  for (const std::int64_t n : kSizes)
    for (const bool in_place : {false, true}) {
      all_gather<float>(n, in_place);
      all_gather<bfloat16>(n, in_place);
      all_gather<std::int32_t>(n, in_place);
      all_gather<std::uint8_t>(n, in_place);
    }
}

TEST_F(Collectives, Broadcast) {
  for (const std::int64_t n : kSizes)
    for (int root = 0; root < size(); ++root) {
      auto x = contributions<float>(rank(), n, 4);
      world().broadcast(tensor_of(x), root, stream(), "x");
      EXPECT_TRUE(same_bits(x, contributions<float>(root, n, 4))) << n << " from " << root;
    }
}

TEST_F(Collectives, NotANumberWinsAMaximumOnAnyRank) {
  for (int where = 0; where < size(); ++where) {
    std::vector<float> x = {rank() == where ? std::nanf("") : 1.0f, static_cast<float>(rank())};
    world().all_reduce(tensor_of(x), Reduction::max, stream(), "x");
    EXPECT_TRUE(std::isnan(x[0]));
    EXPECT_EQ(x[1], static_cast<float>(size() - 1));
  }
}

TEST_F(Collectives, RepetitionsHaveTheSameBits) {
  for (int repetition = 0; repetition < 50; ++repetition)
    for (const std::int64_t n : {5, 4097, 70001}) all_reduce<float>(n, Reduction::sum);
}

TEST_F(Collectives, ValuesInHostMemory) {
  double values[3] = {0.1 * (rank() + 1), 1e-9, -5.0 * rank()};
  double sum = 0.1;
  for (int r = 1; r < size(); ++r) sum += 0.1 * (r + 1);
  world().all_reduce_host(values, 1, Reduction::sum, "sum");
  world().all_reduce_host(values + 1, 2, Reduction::max, "max");
  EXPECT_EQ(values[0], sum);
  EXPECT_EQ(values[2], 0.0);
  std::int64_t whole = (std::int64_t{1} << 60) + rank();
  world().all_reduce_host(&whole, 1, Reduction::max, "whole");
  EXPECT_EQ(whole, (std::int64_t{1} << 60) + size() - 1);
  world().barrier("barrier");
}

TEST_F(Collectives, BytesInHostMemory) {
  const auto text = [](int r, std::size_t n) {
    return std::string(n * static_cast<std::size_t>(r), 'a' + static_cast<char>(r));
  };
  for (const std::size_t n : {0, 1, 100, 3'000'000}) {  // nothing; padded; each broadcast
    const auto all = world().all_gather_host(text(rank(), n), "texts");
    ASSERT_EQ(all.size(), static_cast<std::size_t>(size()));
    for (int r = 0; r < size(); ++r)
      EXPECT_TRUE(all[static_cast<std::size_t>(r)] == text(r, n)) << r << " " << n;
    std::string bytes = rank() == size() - 1 ? text(7, n) : "other";
    world().broadcast_host(bytes, size() - 1, "text");
    EXPECT_TRUE(bytes == text(7, n)) << n;
  }
}

// Buckets under the backward: many calls under way on one group while the computation calls another.
TEST_F(Collectives, EventFormRunsBesideAnotherGroup) {
  constexpr int kBuckets = 300;  // more than the queue holds
  constexpr std::int64_t kCount = 3001;
  const auto other = session().make_mesh({1, session().size()}, *device);
  std::vector<std::vector<float>> buckets;
  std::vector<std::unique_ptr<Event>> ready, done;
  for (int b = 0; b < kBuckets; ++b) {
    buckets.emplace_back(static_cast<std::size_t>(kCount), -1.0f);
    ready.push_back(device->make_event());
    done.push_back(device->make_event());
  }
  for (int repetition = 0; repetition < 3; ++repetition) {
    for (int b = 0; b < kBuckets; ++b) {
      const auto n = static_cast<std::size_t>(b);
      buckets[n] = contributions<float>(rank(), kCount, 100 + n);
      stream().record(*ready[n]);
      mesh->data().all_reduce(tensor_of(buckets[n]), Reduction::sum, *ready[n], *done[n], "bucket");
      auto x = contributions<bfloat16>(rank(), 513, n);
      other->tensor().all_reduce(tensor_of(x), Reduction::sum, stream(), "activation");
      EXPECT_TRUE(same_bits(x, expected_reduction<bfloat16>(size(), 0, 513, n, Reduction::sum)));
    }
    for (int b = 0; b < kBuckets; ++b) {
      const auto n = static_cast<std::size_t>(b);
      stream().wait(*done[n]);
      EXPECT_TRUE(
          same_bits(buckets[n], expected_reduction<float>(size(), 0, kCount, 100 + n, Reduction::sum)));
    }
  }
}

TEST_F(Collectives, EventFormWaitsForItsEventAndTheStreamFormForItsTurn) {
  CpuEvent ready, gathered, scattered;
  ready.begin();
  std::vector<float> in(10, -1.0f), all(static_cast<std::size_t>(10 * size())), mine(10), extra = {1.0f};
  std::thread computation([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::fill(in.begin(), in.end(), static_cast<float>(rank() + 1));
    ready.complete();
  });
  // With one rank there is no thread to run later: the call itself waits.
  world().all_gather(tensor_of(in), tensor_of(all), ready, gathered, "gather");
  EXPECT_EQ(gathered.ready(), size() == 1);
  world().reduce_scatter(tensor_of(all), tensor_of(mine), gathered, scattered, "scatter");
  world().all_reduce(tensor_of(extra), Reduction::sum, stream(), "extra");  // third in the group's sequence
  EXPECT_TRUE(gathered.ready());
  stream().wait(scattered);
  computation.join();
  for (int r = 0; r < size(); ++r)
    EXPECT_EQ(all[static_cast<std::size_t>(r) * 10 + 9], static_cast<float>(r + 1));
  EXPECT_EQ(mine[0], static_cast<float>(size() * (rank() + 1)));
  EXPECT_EQ(extra[0], static_cast<float>(size()));
}

TEST_F(Collectives, WrongShapesAreRefusedBeforeAnythingMoves) {
  std::vector<float> in(4), out(static_cast<std::size_t>(4 * size() + 1));
  EXPECT_THROW(world().all_gather(tensor_of(in), tensor_of(out), stream(), "x"), Error);
  EXPECT_THROW(world().reduce_scatter(tensor_of(out), tensor_of(in), stream(), "x"), Error);
  if (size() == 1) return;
  std::vector<std::uint8_t> bytes(4);
  EXPECT_THROW(world().all_reduce(tensor_of(bytes), Reduction::sum, stream(), "x"), Error);
  EXPECT_THROW(world().broadcast(tensor_of(in), size(), stream(), "x"), Error);
}

TEST_F(Collectives, GroupsOfAMeshOfTwoDimensions) {
  if (size() != 4) GTEST_SKIP() << "needs 4 ranks";
  const auto grid = session().make_mesh({2, 2}, *device);
  std::vector<std::int32_t> tensor = {rank()}, data = {rank()};
  grid->tensor().all_reduce(tensor_of(tensor), Reduction::sum, stream(), "t");
  grid->data().all_reduce(tensor_of(data), Reduction::sum, stream(), "d");
  EXPECT_EQ(tensor[0], rank() < 2 ? 0 + 1 : 2 + 3);
  EXPECT_EQ(data[0], rank() % 2 == 0 ? 0 + 2 : 1 + 3);
  EXPECT_EQ(grid->tensor().rank(), rank() % 2);
  EXPECT_EQ(grid->data().rank(), rank() / 2);
  EXPECT_EQ(grid->tensor_rank(), rank() % 2);
  EXPECT_EQ(grid->data_rank(), rank() / 2);
}

}  // namespace
}  // namespace heddle::test
