// Communicators of one process: self, plan, and several ranks as threads over shared memory.
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "collective_cases.h"
#include "kernels/cpu/device.h"
#include "kernels/error.h"
#include "parallel/mesh.h"
#include "parallel/mpi_communicator.h"
#include "parallel/plan_communicator.h"
#include "parallel/shared_memory_transport.h"

namespace heddle {
namespace {

using test::contributions;
using test::expected_reduction;
using test::same_bits;
using test::tensor_of;

TEST(SelfCommunicator, IsTheIdentity) {
  const auto device = make_cpu_device(1);
  const auto self = make_self_communicator("tensor", *device);
  CpuStream stream;
  CpuEvent ready, done;
  std::vector<float> x = {1, 2}, out(2);
  self->all_reduce(tensor_of(x), Reduction::sum, stream, "x");
  self->all_gather(tensor_of(x), tensor_of(out), stream, "x");
  EXPECT_EQ(out, x);
  out = {0, 0};
  self->reduce_scatter(tensor_of(x), tensor_of(out), ready, done, "x");
  EXPECT_TRUE(done.ready());
  EXPECT_EQ(out, x);
  EXPECT_EQ(self->all_gather_host("abc", "x"), std::vector<std::string>{"abc"});
  EXPECT_EQ(self->size(), 1);
  EXPECT_EQ(self->name(), "tensor");
  std::vector<float> longer(3);
  EXPECT_THROW(self->all_gather(tensor_of(x), tensor_of(longer), stream, "x"), Error);
}

TEST(PlanCommunicator, CountsCallsAndBytesByKindAndLabel) {
  PlanCommunicator plan("data", 2, 4);
  CpuStream stream;
  CpuEvent ready, done;
  const Tensor x(nullptr, DType::f32, {1000}), whole(nullptr, DType::bf16, {4000}),
      mine(nullptr, DType::bf16, {1000});
  plan.all_reduce(x, Reduction::sum, ready, done, "gradients");
  plan.all_reduce(x, Reduction::sum, ready, done, "gradients");
  plan.all_reduce(x, Reduction::sum, stream, "loss");
  plan.all_gather(mine, whole, stream, "gradients");
  plan.reduce_scatter(whole, mine, ready, done, "shards");
  EXPECT_TRUE(done.ready());
  ASSERT_EQ(plan.traffic().size(), 4u);
  EXPECT_EQ(plan.traffic()[0].kind, CollectiveKind::all_reduce);
  EXPECT_EQ(plan.traffic()[0].label, "gradients");
  EXPECT_EQ(plan.traffic()[0].calls, 2);
  EXPECT_EQ(plan.traffic()[0].bytes, 8000u);
  EXPECT_EQ(plan.traffic()[0].sent, 2u * 2 * 4000 * 3 / 4);
  EXPECT_EQ(plan.traffic()[1].label, "loss");
  EXPECT_EQ(plan.traffic()[2].kind, CollectiveKind::all_gather);
  EXPECT_EQ(plan.traffic()[2].sent, 8000u * 3 / 4);
  EXPECT_EQ(plan.traffic()[3].sent, 8000u * 3 / 4);
  plan.reset_traffic();
  EXPECT_TRUE(plan.traffic().empty());
}

TEST(PlanMesh, StandsWhereTheRealOneWould) {
  const auto mesh = make_plan_mesh({3, 4}, 7);
  EXPECT_EQ(mesh->data_rank(), 1);
  EXPECT_EQ(mesh->tensor_rank(), 3);
  EXPECT_EQ(mesh->data().rank(), 1);
  EXPECT_EQ(mesh->data().size(), 3);
  EXPECT_EQ(mesh->tensor().rank(), 3);
  EXPECT_EQ(mesh->tensor().size(), 4);
  EXPECT_EQ(mesh->world().rank(), 7);
  EXPECT_EQ(mesh->world().size(), 12);
  EXPECT_THROW(make_plan_mesh({3, 4}, 12), Error);
  EXPECT_THROW(make_plan_mesh({0, 4}, 0), Error);
  EXPECT_THROW(make_plan_mesh({1 << 20, 1 << 20}, 0), Error);
}

TEST(BytesSent, DoesNotOverflowAndRoundsLittle) {
  EXPECT_EQ(bytes_sent(CollectiveKind::all_reduce, std::uint64_t{1} << 60, 8),
            (std::uint64_t{1} << 60) / 4 * 7);
  EXPECT_EQ(bytes_sent(CollectiveKind::all_gather, 10, 3), 6u);
  EXPECT_EQ(bytes_sent(CollectiveKind::barrier, 10, 3), 0u);
  EXPECT_EQ(bytes_sent(CollectiveKind::all_reduce, 10, 1), 0u);
}

// Runs `body` on threads that stand for the ranks of a group over one region.
void run_ranks(int ranks, const std::function<void(Communicator&)>& body) {
  const std::size_t bytes = SharedMemoryTransport::region_bytes(ranks);
  void* region = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  std::memset(region, 0, bytes);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([=, &body] {
      Memory view(region, bytes, [](void*) {});
      MpiCommunicator group("test", std::make_unique<SharedMemoryTransport>(std::move(view), rank, ranks),
                            std::make_shared<WatchedGroup>("test", 0, RankRange{0, 1, ranks}));
      body(group);
    });
  for (std::thread& thread : threads) thread.join();
  std::free(region);
}

TEST(SharedMemoryGroup, EventAndStreamFormsInterleaved) {
  for (const int ranks : {2, 3, 5})
    run_ranks(ranks, [](Communicator& group) {
      constexpr int kBuckets = 40;
      constexpr std::int64_t kCount = 70001;
      CpuStream stream;
      std::vector<std::vector<float>> buckets(kBuckets);
      std::vector<CpuEvent> ready(kBuckets), done(kBuckets);
      for (int b = 0; b < kBuckets; ++b) {
        const auto n = static_cast<std::size_t>(b);
        buckets[n] = contributions<float>(group.rank(), kCount, n);
        group.all_reduce(tensor_of(buckets[n]), Reduction::sum, ready[n], done[n], "bucket");
        if (b % 7 == 0) {
          auto x = contributions<bfloat16>(group.rank(), 5, n);
          group.all_reduce(tensor_of(x), Reduction::sum, stream, "between");
          EXPECT_TRUE(same_bits(x, expected_reduction<bfloat16>(group.size(), 0, 5, n, Reduction::sum)));
        }
      }
      for (int b = kBuckets - 1; b >= 0; --b) {
        const auto n = static_cast<std::size_t>(b);
        stream.wait(done[n]);
        EXPECT_TRUE(
            same_bits(buckets[n], expected_reduction<float>(group.size(), 0, kCount, n, Reduction::sum)));
      }
    });
}

TEST(SharedMemoryGroup, DifferentCallsFailOnAllRanksAndBreakTheGroup) {
  run_ranks(3, [](Communicator& group) {
    CpuStream stream;
    CpuEvent ready, done;
    std::vector<float> x(10);
    const char* label = group.rank() == 1 ? "loss" : "gradients";
    group.all_reduce(tensor_of(x), Reduction::sum, ready, done, label);
    try {
      done.synchronize();
      ADD_FAILURE() << "no error on rank " << group.rank();
    } catch (const Error& e) {
      const std::string text = e.what();
      EXPECT_NE(text.find("group test: "), std::string::npos) << text;
      EXPECT_NE(text.find("\"loss\""), std::string::npos) << text;
      EXPECT_NE(text.find("\"gradients\""), std::string::npos) << text;
    }
    EXPECT_THROW(group.barrier("after"), Error);
  });
}

TEST(SharedMemoryGroup, GivesUpWhenItIsDestroyedWhileTheOthersDoNotCome) {
  run_ranks(2, [](Communicator& group) {
    if (group.rank() == 1) return;
    static std::vector<float> x(10);
    static CpuEvent ready, done, second;
    group.all_reduce(tensor_of(x), Reduction::sum, ready, done, "lonely");
    group.all_reduce(tensor_of(x), Reduction::sum, done, second, "after it");
  });
  // The threads have ended: nothing hung.
}

}  // namespace
}  // namespace heddle
