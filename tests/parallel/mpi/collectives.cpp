// Every collective on every group that a mesh makes: on the CPU, on GPUs through NCCL, and on a shared GPU
// (mpi_test.h).
#include <cmath>

#include "../collective_cases.h"
#include "kernels/cpu/device.h"
#include "kernels/error.h"
#include "mpi_test.h"
#include "parallel/mpi_communicator.h"
#include "parallel/staged_communicator.h"

namespace heddle::test {
namespace {

// Values in device memory.
template <typename T>
class OnDevice {
 public:
  OnDevice(Device& device, const std::vector<T>& values)
      : device_(device),
        memory_(device.allocate(values.size() * sizeof(T))),
        tensor_(memory_.data(), dtype_of<T>(), {static_cast<std::int64_t>(values.size())}) {
    set(values);
  }
  const Tensor& tensor() const { return tensor_; }
  void set(const std::vector<T>& values) const {
    device_.copy_to_device(device_.compute_stream(), tensor_, values.data());
    device_.compute_stream().synchronize();
  }
  std::vector<T> values() const { return values_of(tensor_); }
  std::vector<T> values_of(const Tensor& part) const {
    std::vector<T> values(static_cast<std::size_t>(part.count()));
    device_.copy_to_host(device_.compute_stream(), values.data(), part);
    device_.compute_stream().synchronize();
    return values;
  }

 private:
  Device& device_;
  Memory memory_;
  Tensor tensor_;
};

// NCCL on GPUs adds in an order of its own; the emulated one and all others in rank order.
#ifdef HEDDLE_CUDA_EMULATOR
bool adds_in_rank_order() {
  return true;
}
#else
bool adds_in_rank_order() {
  return !on_gpu() || shares_gpu();
}
#endif

// On GPUs fewer sizes and repetitions, for the emulator's sake; the last is more than what is staged at a
// time.
const std::vector<std::int64_t>& sizes() {
  static const std::vector<std::int64_t> few = {0, 1, 1001, 1100003};
  return on_gpu() ? few : kSizes;
}

class Collectives : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    device = make_test_device();
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
  OnDevice<T> put(const std::vector<T>& values) {
    return OnDevice<T>(*device, values);
  }
  template <typename T>
  OnDevice<T> zeros(std::int64_t n) {
    return put(std::vector<T>(static_cast<std::size_t>(n)));
  }

  // The reduction of elements [begin, begin + n) of all ranks' contributions.
  template <typename T>
  void expect_reduced(const std::vector<T>& values, std::int64_t begin, std::int64_t n, std::uint64_t seed,
                      Reduction reduction) {
    const std::vector<T> expected = expected_reduction<T>(size(), begin, n, seed, reduction);
    if (std::is_same_v<T, std::int32_t> || reduction == Reduction::max || adds_in_rank_order()) {
      EXPECT_TRUE(same_bits(values, expected)) << n;
      return;
    }
    ASSERT_EQ(values.size(), expected.size());
    const double epsilon = std::is_same_v<T, bfloat16> ? 0x1p-8 : 0x1p-24;
    for (std::int64_t i = 0; i < n; ++i) {
      double magnitude = 0;  // of the intermediate sums, each rounded once
      for (int r = 0; r < size(); ++r)
        magnitude += std::abs(static_cast<double>(contribution<T>(r, begin + i, seed)));
      const auto at = static_cast<std::size_t>(i);
      ASSERT_NEAR(static_cast<double>(values[at]), static_cast<double>(expected[at]),
                  2 * size() * epsilon * magnitude);
    }
  }

  template <typename T>
  void all_reduce(std::int64_t n, Reduction reduction) {
    const auto x = put(contributions<T>(rank(), n, 1));
    world().all_reduce(x.tensor(), reduction, stream(), "x");
    expect_reduced(x.values(), 0, n, 1, reduction);
  }
  template <typename T>
  void reduce_scatter(std::int64_t n, bool in_place) {
    const auto in = put(contributions<T>(rank(), n * size(), 2));
    const auto out = zeros<T>(n);
    const Tensor mine = in_place ? in.tensor().slice(0, rank() * n, (rank() + 1) * n) : out.tensor();
    world().reduce_scatter(in.tensor(), mine, stream(), "x");
    expect_reduced(out.values_of(mine), rank() * n, n, 2, Reduction::sum);
  }
  template <typename T>
  void all_gather(std::int64_t n, bool in_place) {
    std::vector<T> before(static_cast<std::size_t>(n * size())), expected;
    const auto contribution = contributions<T>(rank(), n, 3);
    std::copy(contribution.begin(), contribution.end(), before.begin() + rank() * n);
    const auto in = put(contribution);
    const auto out = in_place ? put(before) : zeros<T>(n * size());
    world().all_gather(in_place ? out.tensor().slice(0, rank() * n, (rank() + 1) * n) : in.tensor(),
                       out.tensor(), stream(), "x");
    for (int r = 0; r < size(); ++r) {
      const auto part = contributions<T>(r, n, 3);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    EXPECT_TRUE(same_bits(out.values(), expected)) << n;
  }

  static std::unique_ptr<Device> device;
  static std::unique_ptr<Mesh> mesh;
};

std::unique_ptr<Device> Collectives::device;
std::unique_ptr<Mesh> Collectives::mesh;

TEST_F(Collectives, TakeTheTransportThatWasAskedFor) {
  if (size() == 1) GTEST_SKIP() << "one rank has no transport";
  EXPECT_EQ(world().capturable(), on_gpu() && !shares_gpu());
  EXPECT_EQ(dynamic_cast<StagedCommunicator*>(&world()) != nullptr, shares_gpu());
  if (on_gpu()) return;
  const auto& communicator = dynamic_cast<MpiCommunicator&>(world());
  EXPECT_STREQ(communicator.transport(), messages_only() ? "MPI messages" : "shared memory");
}

TEST_F(Collectives, AllReduce) {
  for (const std::int64_t n : sizes()) {
    all_reduce<float>(n, Reduction::sum);
    all_reduce<bfloat16>(n, Reduction::sum);
    all_reduce<std::int32_t>(n, Reduction::sum);
    all_reduce<float>(n, Reduction::max);
    all_reduce<bfloat16>(n, Reduction::max);
    all_reduce<std::int32_t>(n, Reduction::max);
  }
}

TEST_F(Collectives, ReduceScatter) {
  for (const std::int64_t n : sizes())
    for (const bool in_place : {false, true}) {
      reduce_scatter<float>(n, in_place);
      reduce_scatter<bfloat16>(n, in_place);
      reduce_scatter<std::int32_t>(n, in_place);
    }
}

TEST_F(Collectives, AllGather) {
  for (const std::int64_t n : sizes())
    for (const bool in_place : {false, true}) {
      all_gather<float>(n, in_place);
      all_gather<bfloat16>(n, in_place);
      all_gather<std::int32_t>(n, in_place);
      all_gather<std::uint8_t>(n, in_place);
    }
}

TEST_F(Collectives, Broadcast) {
  for (const std::int64_t n : sizes())
    for (int root = 0; root < size(); ++root) {
      const auto x = put(contributions<float>(rank(), n, 4));
      world().broadcast(x.tensor(), root, stream(), "x");
      EXPECT_TRUE(same_bits(x.values(), contributions<float>(root, n, 4))) << n << " from " << root;
    }
}

TEST_F(Collectives, NotANumberWinsAMaximumOnAnyRank) {
  if (on_gpu() && !shares_gpu()) GTEST_SKIP() << "NCCL may take the number";
  for (int where = 0; where < size(); ++where) {
    const auto x = put<float>({rank() == where ? std::nanf("") : 1.0f, static_cast<float>(rank())});
    world().all_reduce(x.tensor(), Reduction::max, stream(), "x");
    EXPECT_TRUE(std::isnan(x.values()[0]));
    EXPECT_EQ(x.values()[1], static_cast<float>(size() - 1));
  }
}

TEST_F(Collectives, SumsOfDoubles) {
  const auto x = put<double>({1.0 + rank(), 1e-9});
  world().all_reduce(x.tensor(), Reduction::sum, stream(), "x");
  EXPECT_EQ(x.values()[0], size() * (size() + 1) / 2.0);
  EXPECT_NEAR(x.values()[1], size() * 1e-9, 1e-24);
}

TEST_F(Collectives, RepetitionsHaveTheSameBits) {
  for (const std::int64_t n : {5, 4097, 70001}) {
    const auto contribution = contributions<float>(rank(), n, 1);
    const auto x = put(contribution);
    std::vector<float> first;
    for (int repetition = 0; repetition < (on_gpu() ? 5 : 50); ++repetition) {
      x.set(contribution);
      world().all_reduce(x.tensor(), Reduction::sum, stream(), "x");
      if (repetition == 0) first = x.values();
      EXPECT_TRUE(same_bits(x.values(), first)) << n;
    }
    expect_reduced(first, 0, n, 1, Reduction::sum);
    const auto all =
        world().all_gather_host(std::string(reinterpret_cast<char*>(first.data()), first.size() * 4), "x");
    for (const std::string& other : all) EXPECT_TRUE(other == all[0]) << "ranks differ";
  }
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
  const int buckets_in_flight = on_gpu() ? 30 : 300;  // more than the queue of the CPU's communicator holds
  constexpr std::int64_t kCount = 3001;
  const auto other = session().make_mesh({1, session().size()}, *device);
  const auto x = zeros<bfloat16>(513);
  const auto source = zeros<float>(kCount);
  std::vector<OnDevice<float>> buckets;
  std::vector<std::unique_ptr<Event>> ready, done;
  for (int b = 0; b < buckets_in_flight; ++b) {
    buckets.push_back(zeros<float>(kCount));
    ready.push_back(device->make_event());
    done.push_back(device->make_event());
  }
  for (int repetition = 0; repetition < 3; ++repetition) {
    for (int b = 0; b < buckets_in_flight; ++b) {
      const auto n = static_cast<std::size_t>(b);
      source.set(contributions<float>(rank(), kCount, 100 + n));
      device->copy_on_device(stream(), source.tensor(), buckets[n].tensor());
      stream().record(*ready[n]);
      mesh->data().all_reduce(buckets[n].tensor(), Reduction::sum, *ready[n], *done[n], "bucket");
      x.set(contributions<bfloat16>(rank(), 513, n));
      other->tensor().all_reduce(x.tensor(), Reduction::sum, stream(), "activation");
      expect_reduced(x.values(), 0, 513, n, Reduction::sum);
    }
    for (int b = 0; b < buckets_in_flight; ++b) {
      const auto n = static_cast<std::size_t>(b);
      stream().wait(*done[n]);
      expect_reduced(buckets[n].values(), 0, kCount, 100 + n, Reduction::sum);
    }
  }
}

TEST_F(Collectives, EventFormWaitsForItsEventAndTheStreamFormForItsTurn) {
  if (on_gpu()) GTEST_SKIP() << "only the CPU's events are completed by the host";
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

// A step as the trainer records it: a collective in the computation, buckets beside it, a gather of what they
// give.
TEST_F(Collectives, ReplayInAGraph) {
  if (!device->has_graphs() || !world().capturable())
    GTEST_SKIP() << "this device or communicator has no graphs";
  constexpr std::int64_t kCount = 1001;
  const auto grid = session().make_mesh({1, session().size()}, *device);
  const auto source = zeros<float>(kCount), x = zeros<float>(kCount), bucket = zeros<float>(kCount * size());
  const auto mine = zeros<float>(kCount), all = zeros<float>(kCount * size());
  const auto ready = device->make_event(), reduced = device->make_event(), gathered = device->make_event();
  const auto step = [&] {
    device->copy_on_device(stream(), source.tensor(), x.tensor());
    grid->tensor().all_reduce(x.tensor(), Reduction::sum, stream(), "activation");
    for (int r = 0; r < size(); ++r)
      device->copy_on_device(stream(), source.tensor(),
                             bucket.tensor().slice(0, r * kCount, (r + 1) * kCount));
    stream().record(*ready);
    mesh->data().reduce_scatter(bucket.tensor(), mine.tensor(), *ready, *reduced, "bucket");
    mesh->data().all_gather(mine.tensor(), all.tensor(), *reduced, *gathered, "parameters");
    stream().wait(*gathered);
  };
  step();  // as it is: NCCL connects at the first call
  const auto graph = device->capture(step);
  EXPECT_GE(graph->node_count(), static_cast<std::size_t>(3 + size()));
  for (std::uint64_t seed = 50; seed < 54; ++seed) {
    source.set(contributions<float>(rank(), kCount, seed));
    graph->launch(stream());
    expect_reduced(x.values(), 0, kCount, seed, Reduction::sum);
    const std::vector<float> gathered_values = all.values();
    for (int r = 0; r < size(); ++r)
      expect_reduced(std::vector<float>(gathered_values.begin() + r * kCount,
                                        gathered_values.begin() + (r + 1) * kCount),
                     0, kCount, seed, Reduction::sum);
  }
}

// Calls before and after a launch that no event orders keep their places in the group's sequence.
TEST_F(Collectives, AGraphTakesItsTurnAmongTheCalls) {
  if (!device->has_graphs() || !world().capturable())
    GTEST_SKIP() << "this device or communicator has no graphs";
  const auto before = zeros<float>(100001), captured = zeros<float>(1001), after = zeros<float>(1001);
  const auto graph =
      device->capture([&] { world().all_reduce(captured.tensor(), Reduction::sum, stream(), "captured"); });
  const auto early = device->make_event(), first = device->make_event(), last = device->make_event();
  for (std::uint64_t seed = 60; seed < 70; ++seed) {
    before.set(contributions<float>(rank(), 100001, seed));
    captured.set(contributions<float>(rank(), 1001, seed));
    after.set(contributions<float>(rank(), 1001, seed));
    stream().record(*early);
    world().all_reduce(before.tensor(), Reduction::sum, *early, *first, "before");
    graph->launch(stream());
    world().all_reduce(after.tensor(), Reduction::sum, *early, *last, "after");
    stream().wait(*first);
    stream().wait(*last);
    expect_reduced(before.values(), 0, 100001, seed, Reduction::sum);
    expect_reduced(captured.values(), 0, 1001, seed, Reduction::sum);
    expect_reduced(after.values(), 0, 1001, seed, Reduction::sum);
  }
}

TEST_F(Collectives, AnExceptionEndsACapture) {
  if (!device->has_graphs() || !world().capturable())
    GTEST_SKIP() << "this device or communicator has no graphs";
  const auto x = put<float>({static_cast<float>(rank())});
  world().all_reduce(x.tensor(), Reduction::sum, stream(), "before");
  EXPECT_THROW(device->capture([&] {
    world().all_reduce(x.tensor(), Reduction::sum, stream(), "captured");
    throw error("in the middle");
  }),
               Error);
  x.set({1});
  world().all_reduce(x.tensor(), Reduction::sum, stream(), "after");
  EXPECT_EQ(x.values()[0], size());
  const auto graph =
      device->capture([&] { world().all_reduce(x.tensor(), Reduction::sum, stream(), "captured"); });
  EXPECT_EQ(x.values()[0], size()) << "a capture runs nothing";
  graph->launch(stream());
  EXPECT_EQ(x.values()[0], size() * size());
}

TEST_F(Collectives, WrongShapesAreRefusedBeforeAnythingMoves) {
  const auto in = zeros<float>(4), out = zeros<float>(4 * size() + 1);
  EXPECT_THROW(world().all_gather(in.tensor(), out.tensor(), stream(), "x"), Error);
  EXPECT_THROW(world().reduce_scatter(out.tensor(), in.tensor(), stream(), "x"), Error);
  if (size() == 1) return;
  const auto bytes = zeros<std::uint8_t>(4);
  EXPECT_THROW(world().all_reduce(bytes.tensor(), Reduction::sum, stream(), "x"), Error);
  EXPECT_THROW(world().broadcast(in.tensor(), size(), stream(), "x"), Error);
}

TEST_F(Collectives, GroupsOfAMeshOfTwoDimensions) {
  if (size() != 4) GTEST_SKIP() << "needs 4 ranks";
  const auto grid = session().make_mesh({2, 2}, *device);
  const auto tensor = put<std::int32_t>({rank()}), data = put<std::int32_t>({rank()});
  grid->tensor().all_reduce(tensor.tensor(), Reduction::sum, stream(), "t");
  grid->data().all_reduce(data.tensor(), Reduction::sum, stream(), "d");
  EXPECT_EQ(tensor.values()[0], rank() < 2 ? 0 + 1 : 2 + 3);
  EXPECT_EQ(data.values()[0], rank() % 2 == 0 ? 0 + 2 : 1 + 3);
  EXPECT_EQ(grid->tensor().rank(), rank() % 2);
  EXPECT_EQ(grid->data().rank(), rank() / 2);
  EXPECT_EQ(grid->tensor_rank(), rank() % 2);
  EXPECT_EQ(grid->data_rank(), rank() / 2);
}

}  // namespace
}  // namespace heddle::test
