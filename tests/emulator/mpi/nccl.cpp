// The emulated NCCL on the ranks that mpirun has started, a GPU each.
#include <mpi.h>
#include <nccl.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "kernels/tensor.h"
#include "tests/emulator/host/work.h"
#include "tests/emulator/tests/host_test.h"
#include "tests/parallel/mpi/mpi_test.h"

#define EXPECT_NCCL(call) EXPECT_STREQ(ncclGetErrorString(call), "no error")

namespace heddle::emulator {
namespace {

using namespace std::chrono_literals;

constexpr int kSeeds = 12;

class Nccl : public HostTest {
 protected:
  Nccl() : rank_(test::session().rank()), size_(test::session().size()) { cudaSetDevice(rank_); }

  // Of rank 0, for all.
  ncclUniqueId make_id() const {
    ncclUniqueId id{};
    if (rank_ == 0) {
      EXPECT_NCCL(ncclGetUniqueId(&id));
    }
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
    return id;
  }

  // Among ranks [first, size); null on the others. Rank 0 of the world makes the id.
  ncclComm_t make_comm(int first = 0) const {
    const ncclUniqueId id = make_id();
    ncclComm_t comm = nullptr;
    if (rank_ < first) return nullptr;
    EXPECT_NCCL(ncclCommInitRank(&comm, size_ - first, id, rank_ - first));
    return comm;
  }

  // Values of a rank that are different everywhere and exact in every type.
  static double value_of(int rank, std::size_t i) {
    return static_cast<double>((rank + 1) * (static_cast<int>(i) % 5 + 1));
  }

  template <typename T>
  static std::vector<T> values_of(int rank, std::size_t count) {
    std::vector<T> values;
    for (std::size_t i = 0; i < count; ++i) values.push_back(static_cast<T>(value_of(rank, i)));
    return values;
  }

  template <typename T>
  void check_all_reduce(ncclComm_t comm, ncclDataType_t type, std::size_t count, bool in_place) {
    const cudaStream_t stream = make_stream();
    T* in = to_device(values_of<T>(rank_, count));
    T* out = in_place ? in : device_memory<T>(count);
    for (const ncclRedOp_t operation : {ncclSum, ncclMax, ncclMin}) {
      const std::vector<T> again = values_of<T>(rank_, count);
      EXPECT_CUDA(cudaMemcpy(in, again.data(), count * sizeof(T), cudaMemcpyHostToDevice));
      EXPECT_NCCL(ncclAllReduce(in, out, count, type, operation, comm, stream));
      EXPECT_CUDA(cudaStreamSynchronize(stream));
      const auto got = to_host(out, count);
      for (std::size_t i = 0; i < count; ++i) {
        double expected = value_of(0, i);
        for (int r = 1; r < size_; ++r) {
          const double v = value_of(r, i);
          expected = operation == ncclSum   ? expected + v
                     : operation == ncclMax ? std::fmax(expected, v)
                                            : std::fmin(expected, v);
        }
        ASSERT_EQ(static_cast<double>(got[i]), expected) << "element " << i << " of " << count;
      }
    }
  }

  int rank_, size_;
};

TEST_F(Nccl, ACommunicatorKnowsItself) {
  const ncclComm_t comm = make_comm();
  int size = 0, rank = -1, device = -1, version = 0;
  EXPECT_NCCL(ncclCommCount(comm, &size));
  EXPECT_NCCL(ncclCommUserRank(comm, &rank));
  EXPECT_NCCL(ncclCommCuDevice(comm, &device));
  EXPECT_NCCL(ncclGetVersion(&version));
  EXPECT_EQ(size, size_);
  EXPECT_EQ(rank, rank_);
  EXPECT_EQ(device, rank_);
  EXPECT_EQ(version, NCCL_VERSION_CODE);
  EXPECT_NCCL(ncclCommFinalize(comm));
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, AllReduceOfEveryType) {
  const ncclComm_t comm = make_comm();
  for (const std::size_t count : {1, 7, 1000})
    for (const bool in_place : {false, true}) {
      check_all_reduce<float>(comm, ncclFloat32, count, in_place);
      check_all_reduce<double>(comm, ncclFloat64, count, in_place);
      check_all_reduce<bfloat16>(comm, ncclBfloat16, count, in_place);
      check_all_reduce<std::int32_t>(comm, ncclInt32, count, in_place);
      check_all_reduce<std::int64_t>(comm, ncclInt64, count, in_place);
      check_all_reduce<std::int8_t>(comm, ncclInt8, count, in_place);
      check_all_reduce<std::uint8_t>(comm, ncclUint8, count, in_place);
    }
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, SumsAreFormedInRankOrderAndRoundedOnce) {
  const ncclComm_t comm = make_comm();
  const cudaStream_t stream = make_stream();
  // 256 + 1 + 1 + ...: in bf16 every step would be rounded away.
  bfloat16* narrow = to_device(std::vector<bfloat16>(4, bfloat16(rank_ == 0 ? 256.0f : 1.0f)));
  float* wide = to_device(std::vector<float>(4, rank_ == 0 ? 1e8f : rank_ == 1 ? -1e8f : 1.0f));
  EXPECT_NCCL(ncclAllReduce(narrow, narrow, 4, ncclBfloat16, ncclSum, comm, stream));
  EXPECT_NCCL(ncclAllReduce(wide, wide, 4, ncclFloat32, ncclSum, comm, stream));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  for (const bfloat16 value : to_host(narrow, 4))
    EXPECT_EQ(static_cast<float>(value),
              static_cast<float>(bfloat16(256.0f + static_cast<float>(size_ - 1))));
  for (const float value : to_host(wide, 4))
    EXPECT_EQ(value, size_ == 1 ? 1e8f : static_cast<float>(size_ - 2));
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, GatherScatterAndBroadcast) {
  const ncclComm_t comm = make_comm();
  const cudaStream_t stream = make_stream();
  const auto ranks = static_cast<std::size_t>(size_), mine = static_cast<std::size_t>(rank_);
  for (const std::size_t count : {1, 33})
    for (const bool in_place : {false, true}) {
      const auto own = values_of<float>(rank_, count);
      float* all = device_memory<float>(count * ranks);
      float* in = in_place ? all + mine * count : device_memory<float>(count);
      EXPECT_CUDA(cudaMemcpy(in, own.data(), count * sizeof(float), cudaMemcpyHostToDevice));
      EXPECT_NCCL(ncclAllGather(in, all, count, ncclFloat32, comm, stream));
      EXPECT_CUDA(cudaStreamSynchronize(stream));
      const auto gathered = to_host(all, count * ranks);
      for (std::size_t i = 0; i < gathered.size(); ++i)
        ASSERT_EQ(gathered[i], value_of(static_cast<int>(i / count), i % count));

      float* sum = in_place ? all + mine * count : device_memory<float>(count);
      EXPECT_NCCL(ncclReduceScatter(all, sum, count, ncclFloat32, ncclSum, comm, stream));
      EXPECT_CUDA(cudaStreamSynchronize(stream));
      const auto scattered = to_host(sum, count);
      for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(scattered[i], size_ * value_of(rank_, i));

      for (int root = 0; root < size_; ++root) {
        float* from = to_device(values_of<float>(rank_, count));
        float* to = in_place ? from : device_memory<float>(count);
        EXPECT_NCCL(ncclBroadcast(from, to, count, ncclFloat32, root, comm, stream));
        EXPECT_CUDA(cudaStreamSynchronize(stream));
        ASSERT_EQ(to_host(to, count), values_of<float>(root, count));
      }
    }
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, MessagesOfAGroupPassEachOther) {
  if (size_ == 1) GTEST_SKIP();
  const ncclComm_t comm = make_comm();
  const cudaStream_t stream = make_stream();
  constexpr std::size_t kCount = 50000;  // too long for MPI to send ahead
  float* in = to_device(values_of<float>(rank_, kCount));
  float* out = device_memory<float>(2 * kCount);
  const int next = (rank_ + 1) % size_, previous = (rank_ + size_ - 1) % size_;
  for (int round = 0; round < 3; ++round) {
    EXPECT_NCCL(ncclGroupStart());
    EXPECT_NCCL(ncclSend(in, kCount, ncclFloat32, next, comm, stream));
    EXPECT_NCCL(ncclSend(in, 5, ncclFloat32, next, comm, stream));
    EXPECT_NCCL(ncclRecv(out, kCount, ncclFloat32, previous, comm, stream));
    EXPECT_NCCL(ncclRecv(out + kCount, 5, ncclFloat32, previous, comm, stream));
    EXPECT_NCCL(ncclGroupEnd());
  }
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(to_host(out, kCount), values_of<float>(previous, kCount));
  EXPECT_EQ(to_host(out + kCount, 5), values_of<float>(previous, 5));
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, TwoCommunicatorsInTwoStreamsInAnyOrder) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    restart(static_cast<std::uint64_t>(seed * 100 + rank_));
    const ncclComm_t comms[] = {make_comm(), make_comm()};
    const cudaStream_t streams[] = {make_stream(), make_stream()};
    int* x[] = {to_device(std::vector<int>(100, 1)), to_device(std::vector<int>(100, 2))};
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 2; ++j) {
        const int k = rank_ % 2 ? 1 - j : j;  // the host's order is not the same everywhere
        EXPECT_NCCL(ncclAllReduce(x[k], x[k], 100, ncclInt32, ncclSum, comms[k], streams[k]));
      }
    EXPECT_CUDA(cudaStreamSynchronize(streams[rank_ % 2]));
    EXPECT_CUDA(cudaDeviceSynchronize());
    for (int k = 0; k < 2; ++k) {
      EXPECT_EQ(to_host(x[k], 100), std::vector<int>(100, (k + 1) * size_ * size_ * size_));
      EXPECT_NCCL(ncclCommDestroy(comms[k]));
    }
  }
}

TEST_F(Nccl, AMissingWaitIsSeen) {
  const auto run = [&](ncclComm_t comm, bool wait) {
    const cudaStream_t compute = make_stream(), communication = make_stream();
    const cudaEvent_t ready = make_event();
    int* x = to_device(std::vector<int>(1, 0));
    launch_set(x, 1, 1, compute);
    EXPECT_CUDA(cudaEventRecord(ready, compute));
    if (wait) {
      EXPECT_CUDA(cudaStreamWaitEvent(communication, ready));
    }
    EXPECT_NCCL(ncclAllReduce(x, x, 1, ncclInt32, ncclSum, comm, communication));
    EXPECT_CUDA(cudaStreamSynchronize(communication));
    EXPECT_CUDA(cudaDeviceSynchronize());
    return to_host(x, 1)[0];
  };
  const ncclComm_t comm = make_comm();
  EXPECT_EQ(count_wrong<int>(kSeeds, size_, [&] { return run(comm, true); }), 0);
  EXPECT_GT(count_wrong<int>(kSeeds, size_, [&] { return run(comm, false); }), 0);
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, WhoReadsTheResultWhileItIsMadeFindsNan) {
  const ncclComm_t comm = make_comm();
  int nan = 0;
  for (int seed = 0; seed < 4 * kSeeds; ++seed) {
    restart(static_cast<std::uint64_t>(seed));
    const cudaStream_t compute = make_stream(), communication = make_stream();
    int* x = to_device(std::vector<int>(1, 1));
    int* y = to_device(std::vector<int>(1, 0));
    EXPECT_NCCL(ncclAllReduce(x, x, 1, ncclInt32, ncclSum, comm, communication));
    launch_scale_and_add(y, 1, 1, x, compute);
    EXPECT_CUDA(cudaDeviceSynchronize());
    if (to_host(y, 1)[0] == -1) ++nan;  // all bits set
    EXPECT_EQ(to_host(x, 1)[0], size_);
  }
  EXPECT_GT(nan, 0);
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, GoesOnWhileTheHostIsElsewhere) {
  const ncclComm_t comm = make_comm();
  const cudaStream_t stream = make_stream();
  int* x = to_device(std::vector<int>(1, 1));
  launch_set(x, 1, 5, stream);
  EXPECT_NCCL(ncclAllReduce(x, x, 1, ncclInt32, ncclSum, comm, stream));
  if (rank_ != 0) {
    EXPECT_CUDA(cudaStreamSynchronize(stream));
  }
  MPI_Barrier(MPI_COMM_WORLD);  // rank 0 comes here without having run anything
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(to_host(x, 1)[0], 5 * size_);
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, InAGraphBesideOtherWork) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    restart(static_cast<std::uint64_t>(seed * 100 + rank_));
    const ncclComm_t comm = make_comm();
    const cudaStream_t compute = make_stream(), communication = make_stream();
    const cudaEvent_t fork = make_event(), join = make_event();
    int* x = to_device(std::vector<int>(10, 1));
    int* y = to_device(std::vector<int>(10, 1));
    int* one = to_device(std::vector<int>{1});
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    EXPECT_CUDA(cudaStreamBeginCapture(compute, cudaStreamCaptureModeThreadLocal));
    launch_scale_and_add(x, 10, 1, one, compute);
    EXPECT_CUDA(cudaEventRecord(fork, compute));
    EXPECT_CUDA(cudaStreamWaitEvent(communication, fork));
    EXPECT_NCCL(ncclAllReduce(x, x, 10, ncclInt32, ncclSum, comm, communication));
    EXPECT_NCCL(ncclAllReduce(x, x, 10, ncclInt32, ncclMax, comm, communication));
    EXPECT_CUDA(cudaEventRecord(join, communication));
    launch_scale_and_add(y, 10, 2, one, compute);
    EXPECT_CUDA(cudaStreamWaitEvent(compute, join));
    EXPECT_CUDA(cudaStreamEndCapture(compute, &graph));
    EXPECT_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    int expected = 1;
    for (int i = 0; i < 3; ++i) {
      EXPECT_CUDA(cudaGraphLaunch(executable, compute));
      expected = (expected + 1) * size_;
    }
    EXPECT_CUDA(cudaStreamSynchronize(compute));
    EXPECT_EQ(to_host(x, 10), std::vector<int>(10, expected));
    EXPECT_EQ(to_host(y, 10), std::vector<int>(10, 15));
    EXPECT_CUDA(cudaGraphExecDestroy(executable));
    EXPECT_CUDA(cudaGraphDestroy(graph));
    EXPECT_NCCL(ncclCommDestroy(comm));
  }
}

TEST_F(Nccl, RanksThatDisagreeFindOut) {
  if (size_ == 1) GTEST_SKIP();
  const std::function<ncclResult_t(int*, ncclComm_t, cudaStream_t)> odd_calls[] = {
      [](int* x, ncclComm_t c, cudaStream_t s) { return ncclAllReduce(x, x, 9, ncclInt32, ncclSum, c, s); },
      [](int* x, ncclComm_t c, cudaStream_t s) {
        return ncclAllReduce(x, x, 10, ncclFloat32, ncclSum, c, s);
      },
      [](int* x, ncclComm_t c, cudaStream_t s) { return ncclAllReduce(x, x, 10, ncclInt32, ncclMax, c, s); },
      [](int* x, ncclComm_t c, cudaStream_t s) { return ncclBroadcast(x, x, 10, ncclInt32, 0, c, s); },
  };
  for (const auto& odd_call : odd_calls) {
    restart(0);
    const ncclComm_t comm = make_comm();
    const cudaStream_t stream = make_stream();
    int* x = to_device(std::vector<int>(10, 1));
    if (rank_ == 1) {
      EXPECT_NCCL(odd_call(x, comm, stream));
    } else {
      EXPECT_NCCL(ncclAllReduce(x, x, 10, ncclInt32, ncclSum, comm, stream));
    }
    EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaStreamSynchronize(stream));
    ncclResult_t state = ncclSuccess;
    EXPECT_NCCL(ncclCommGetAsyncError(comm, &state));
    EXPECT_EQ(state, ncclInvalidUsage);
    const std::string text = ncclGetLastError(comm);
    EXPECT_EQ(text, last_fault());
    EXPECT_NE(text.find("ncclAllReduce (sum) of 10 i32"), std::string::npos) << text;
    EXPECT_EQ(ncclAllReduce(x, x, 10, ncclInt32, ncclSum, comm, stream), ncclInvalidUsage);
    EXPECT_NCCL(ncclCommAbort(comm));
  }
}

TEST_F(Nccl, OneCommunicatorInTwoStreamsIsFound) {
  // Of one rank, so that no other waits for what is not to come.
  int found = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    restart(static_cast<std::uint64_t>(seed));
    ncclUniqueId id;
    ncclComm_t comm = nullptr;
    EXPECT_NCCL(ncclGetUniqueId(&id));
    EXPECT_NCCL(ncclCommInitRank(&comm, 1, id, 0));
    int* x = to_device(std::vector<int>(10, 1));
    int* y = to_device(std::vector<int>(10, 1));
    EXPECT_NCCL(ncclAllReduce(x, x, 10, ncclInt32, ncclSum, comm, make_stream()));
    ncclAllReduce(y, y, 10, ncclInt32, ncclSum, comm, make_stream());  // may find it already
    if (cudaDeviceSynchronize() == cudaErrorLaunchFailure) {
      ++found;
      EXPECT_NE(last_fault().find("nothing orders the two"), std::string::npos) << last_fault();
    }
    EXPECT_NCCL(ncclCommAbort(comm));
  }
  EXPECT_GT(found, 0);
}

TEST_F(Nccl, TwoRanksOnOneGpuAreRefused) {
  if (size_ == 1) GTEST_SKIP();
  EXPECT_CUDA(cudaSetDevice(rank_ / 2));
  const ncclUniqueId id = make_id();
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRank(&comm, size_, id, rank_), ncclInvalidUsage);
  EXPECT_EQ(std::string(ncclGetLastError(nullptr)),
            "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 0");
}

TEST_F(Nccl, TheMakerOfAnIdNeedNotBelong) {
  const int first = size_ > 1 ? 1 : 0;
  const ncclComm_t comm = make_comm(first);
  if (comm) {
    const cudaStream_t stream = make_stream();
    int* x = to_device(std::vector<int>(1, 1));
    EXPECT_NCCL(ncclAllReduce(x, x, 1, ncclInt32, ncclSum, comm, stream));
    EXPECT_CUDA(cudaStreamSynchronize(stream));
    EXPECT_EQ(to_host(x, 1)[0], size_ - first);
    EXPECT_NCCL(ncclCommDestroy(comm));
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST_F(Nccl, ConnectingNeedNotBlock) {
  const ncclUniqueId id = make_id();
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  if (rank_ == size_ - 1) std::this_thread::sleep_for(50ms);
  EXPECT_EQ(ncclCommInitRankConfig(&comm, size_, id, rank_, &config), ncclInProgress);
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) {
    EXPECT_NCCL(ncclCommGetAsyncError(comm, &state));
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(state, ncclSuccess);
  check_all_reduce<float>(comm, ncclFloat32, 10, true);
  EXPECT_NCCL(ncclCommDestroy(comm));
}

TEST_F(Nccl, ARankThatNeverComesCanBeGivenUp) {
  if (size_ == 1) GTEST_SKIP();
  const ncclUniqueId id = make_id();
  if (rank_ != 1) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    EXPECT_EQ(ncclCommInitRankConfig(&comm, size_, id, rank_, &config), ncclInProgress);
    std::this_thread::sleep_for(30ms);
    ncclResult_t state = ncclSuccess;
    EXPECT_NCCL(ncclCommGetAsyncError(comm, &state));
    EXPECT_EQ(state, ncclInProgress);
    EXPECT_NCCL(ncclCommAbort(comm));
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST_F(Nccl, WhatIsRefused) {
  const ncclComm_t comm = make_comm();
  const cudaStream_t stream = make_stream();
  int* x = to_device(std::vector<int>(1, 1));
  EXPECT_EQ(ncclAllReduce(x, x, 1, ncclFloat16, ncclSum, comm, stream), ncclInvalidArgument);
  EXPECT_EQ(ncclAllReduce(x, x, 1, ncclInt32, ncclAvg, comm, stream), ncclInvalidArgument);
  EXPECT_EQ(ncclBroadcast(x, x, 1, ncclInt32, size_, comm, stream), ncclInvalidArgument);
  EXPECT_EQ(ncclAllReduce(x, x, 1, ncclInt32, ncclSum, nullptr, stream), ncclInvalidArgument);
  EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
  MPI_Barrier(MPI_COMM_WORLD);
  int here = 0;
  EXPECT_NCCL(ncclAllReduce(&here, x, 1, ncclInt32, ncclSum, comm, stream));
  EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaStreamSynchronize(stream));
  EXPECT_NE(last_fault().find("the send buffer"), std::string::npos) << last_fault();
  EXPECT_NCCL(ncclCommAbort(comm));
}

// With HEDDLE_EMULATOR_NCCL_FAIL=1:2 or 1:2:hang.
TEST_F(Nccl, BrokenNetwork) {
  const char* plan = std::getenv("HEDDLE_EMULATOR_NCCL_FAIL");
  if (!plan || !*plan || size_ == 1) GTEST_SKIP();
  const bool hang = std::string(plan) == "1:2:hang";
  const ncclComm_t comm = make_comm();
  const cudaStream_t stream = make_stream();
  int* x = to_device(std::vector<int>(1, 1));
  for (int i = 0; i < 2; ++i) EXPECT_NCCL(ncclAllReduce(x, x, 1, ncclInt32, ncclSum, comm, stream));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_NCCL(ncclAllReduce(x, x, 1, ncclInt32, ncclSum, comm, stream));

  std::thread watchdog([&] {
    ncclResult_t state = ncclSuccess;
    for (int i = 0; i < 300 && state == ncclSuccess; ++i) {
      std::this_thread::sleep_for(hang ? 1ms : 10ms);
      EXPECT_NCCL(ncclCommGetAsyncError(comm, &state));
    }
    EXPECT_EQ(state, hang ? ncclSuccess : rank_ == 1 ? ncclSystemError : ncclRemoteError);
    EXPECT_EQ(ncclGetLastError(comm)[0] != '\0', !hang);
    EXPECT_CUDA_ERROR(cudaErrorNotReady, cudaStreamQuery(stream));
    EXPECT_NCCL(ncclCommAbort(comm));
  });
  EXPECT_CUDA(cudaStreamSynchronize(stream));  // returns when the watchdog has aborted
  watchdog.join();
  MPI_Barrier(MPI_COMM_WORLD);
}

}  // namespace
}  // namespace heddle::emulator
