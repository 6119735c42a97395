// Streams and events of the emulated host runtime: work is late and out of order wherever CUDA allows it to
// be.
#include <atomic>
#include <thread>

#include "host_test.h"

namespace heddle::emulator {
namespace {

constexpr int kSeeds = 24;
constexpr int kCount = 40;

class Streams : public HostTest {};

TEST_F(Streams, WorkOfOneStreamRunsInOrder) {
  const auto chain = [&] {
    int* x = to_device(std::vector<int>(kCount, 1));
    int* addend = to_device(std::vector<int>{3});
    const cudaStream_t stream = make_stream();
    for (int factor = 1; factor < 6; ++factor) launch_scale_and_add(x, kCount, factor, addend, stream);
    EXPECT_CUDA(cudaStreamSynchronize(stream));
    return to_host(x, kCount);
  };
  const std::vector<int> expected(kCount, ((((1 + 3) * 2 + 3) * 3 + 3) * 4 + 3) * 5 + 3);
  EXPECT_EQ(count_wrong<std::vector<int>>(kSeeds, expected, chain), 0);
}

TEST_F(Streams, NothingRunsBeforeTheHostWaits) {
  int* x = to_device(std::vector<int>(kCount, 1));
  int* host = pinned_memory<int>(kCount);
  host[0] = -1;
  const cudaStream_t stream = make_stream();
  EXPECT_CUDA(cudaMemcpyAsync(host, x, kCount * sizeof(int), cudaMemcpyDeviceToHost, stream));
  EXPECT_EQ(host[0], -1);
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(host[0], 1);
}

// One stream writes, another reads after an event.
std::vector<int> produce_and_consume(bool wait, cudaStream_t producer, cudaStream_t consumer,
                                     cudaEvent_t ready, int* x, const int* addend) {
  for (int i = 1; i <= 4; ++i) launch_set(x, kCount, i, producer);
  EXPECT_CUDA(cudaEventRecord(ready, producer));
  if (wait) {
    EXPECT_CUDA(cudaStreamWaitEvent(consumer, ready));
  }
  launch_scale_and_add(x, kCount, 10, addend, consumer);
  EXPECT_CUDA(cudaStreamSynchronize(consumer));
  EXPECT_CUDA(cudaStreamSynchronize(producer));
  std::vector<int> result(kCount);
  EXPECT_CUDA(cudaMemcpy(result.data(), x, kCount * sizeof(int), cudaMemcpyDeviceToHost));
  return result;
}

TEST_F(Streams, EventsOrderStreamsAndAMissingWaitIsSeen) {
  const auto run = [&](bool wait) {
    return produce_and_consume(wait, make_stream(), make_stream(), make_event(),
                               to_device(std::vector<int>(kCount, 0)), to_device(std::vector<int>{1}));
  };
  const std::vector<int> expected(kCount, 41);
  EXPECT_EQ(count_wrong<std::vector<int>>(kSeeds, expected, [&] { return run(true); }), 0);
  EXPECT_GT(count_wrong<std::vector<int>>(kSeeds, expected, [&] { return run(false); }), kSeeds / 2);
}

TEST_F(Streams, AWaitIsForTheRecordThatWasLatestAtTheCall) {
  const auto run = [&] {
    int* x = to_device(std::vector<int>(1, 0));
    int* y = to_device(std::vector<int>(1, 0));
    int* one = to_device(std::vector<int>{1});
    const cudaStream_t first = make_stream(), second = make_stream();
    const cudaEvent_t event = make_event();
    launch_set(x, 1, 1, first);
    EXPECT_CUDA(cudaEventRecord(event, first));
    EXPECT_CUDA(cudaStreamWaitEvent(second, event));
    EXPECT_CUDA(cudaEventRecord(event, second));  // must not make the wait above wait for itself
    EXPECT_CUDA(cudaStreamWaitEvent(first, event));
    launch_scale_and_add(x, 1, 1, one, second);
    EXPECT_CUDA(cudaEventSynchronize(event));
    EXPECT_CUDA(cudaDeviceSynchronize());
    return to_host(x, 1)[0] + to_host(y, 1)[0];
  };
  EXPECT_EQ(count_wrong<int>(kSeeds, 2, run), 0);
}

TEST_F(Streams, ReusingAPinnedBufferTooEarlyIsSeen) {
  const auto run = [&](bool wait) {
    int* x = device_memory<int>(2);
    int* host = pinned_memory<int>(1);
    const cudaStream_t stream = make_stream();
    const cudaEvent_t copied = make_event();
    for (int i = 0; i < 2; ++i) {
      if (wait) {
        EXPECT_CUDA(cudaEventSynchronize(copied));
      }
      host[0] = i + 1;
      EXPECT_CUDA(cudaMemcpyAsync(x + i, host, sizeof(int), cudaMemcpyHostToDevice, stream));
      EXPECT_CUDA(cudaEventRecord(copied, stream));
    }
    EXPECT_CUDA(cudaStreamSynchronize(stream));
    return to_host(x, 2);
  };
  const std::vector<int> expected{1, 2};
  EXPECT_EQ(count_wrong<std::vector<int>>(kSeeds, expected, [&] { return run(true); }), 0);
  EXPECT_GT(count_wrong<std::vector<int>>(kSeeds, expected, [&] { return run(false); }), kSeeds / 2);
}

TEST_F(Streams, SomeSeedsRunWorkEarly) {
  // The host writes after the call and hopes that the copy has not run yet.
  const auto run = [&] {
    int* x = device_memory<int>(1);
    int* host = pinned_memory<int>(1);
    host[0] = 1;
    const cudaStream_t stream = make_stream();
    EXPECT_CUDA(cudaMemcpyAsync(x, host, sizeof(int), cudaMemcpyHostToDevice, stream));
    host[0] = 2;
    EXPECT_CUDA(cudaStreamSynchronize(stream));
    return to_host(x, 1)[0];
  };
  const int early = count_wrong<int>(4 * kSeeds, 2, run);
  EXPECT_GT(early, 0);
  EXPECT_LT(early, 2 * kSeeds);
}

TEST_F(Streams, PageableMemoryMayBeReusedAtOnce) {
  const auto run = [&] {
    int* x = device_memory<int>(kCount);
    std::vector<int> values(kCount, 7);
    const cudaStream_t stream = make_stream();
    EXPECT_CUDA(cudaMemcpyAsync(x, values.data(), kCount * sizeof(int), cudaMemcpyHostToDevice, stream));
    values.assign(kCount, 0);
    EXPECT_CUDA(cudaMemcpyAsync(values.data(), x, kCount * sizeof(int), cudaMemcpyDeviceToHost, stream));
    return values;  // the copy back has waited
  };
  EXPECT_EQ(count_wrong<std::vector<int>>(kSeeds, std::vector<int>(kCount, 7), run), 0);
}

TEST_F(Streams, TwoDimensionalCopies) {
  int* x = to_device(std::vector<int>{1, 2, 3, 4, 5, 6});
  int* host = pinned_memory<int>(4);
  const cudaStream_t stream = make_stream();
  EXPECT_CUDA(cudaMemcpy2DAsync(host, 8, x + 1, 12, 8, 2, cudaMemcpyDeviceToHost, stream));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(std::vector<int>(host, host + 4), (std::vector<int>{2, 3, 5, 6}));
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue,
                    cudaMemcpy2DAsync(host, 4, x, 12, 8, 2, cudaMemcpyDeviceToHost, stream));
}

TEST_F(Streams, TheDefaultStreamOrdersBlockingStreamsOnly) {
  const auto run = [&](unsigned flags) {
    int* x = to_device(std::vector<int>(kCount, 1));
    int* zero = to_device(std::vector<int>{0});
    cudaStream_t stream = nullptr;
    EXPECT_CUDA(cudaStreamCreateWithFlags(&stream, flags));
    launch_set(x, kCount, 2, stream);
    EXPECT_CUDA(cudaMemset(x, 0, kCount * sizeof(int)));
    launch_scale_and_add(x, kCount, 3, zero, stream);
    EXPECT_CUDA(cudaStreamSynchronize(stream));
    EXPECT_CUDA(cudaDeviceSynchronize());
    return to_host(x, 1)[0];
  };
  EXPECT_EQ(count_wrong<int>(kSeeds, 0, [&] { return run(cudaStreamDefault); }), 0);
  // Last memset, as expected, or 2, 0 * 3 or 2 * 3: all but 0 are seen.
  EXPECT_GT(count_wrong<int>(kSeeds, 0, [&] { return run(cudaStreamNonBlocking); }), 0);
}

TEST_F(Streams, QueriesBringWorkForward) {
  int* x = to_device(std::vector<int>(kCount, 1));
  const cudaStream_t stream = make_stream();
  const cudaEvent_t event = make_event();
  EXPECT_CUDA(cudaEventQuery(event));  // never recorded
  for (int i = 0; i < 50; ++i) launch_set(x, kCount, i, stream);
  EXPECT_CUDA(cudaEventRecord(event, stream));
  EXPECT_CUDA_ERROR(cudaErrorNotReady, cudaEventQuery(event));
  EXPECT_CUDA_ERROR(cudaErrorNotReady, cudaGetLastError());
  EXPECT_CUDA(cudaGetLastError());
  int questions = 0;
  while (cudaEventQuery(event) != cudaSuccess) ASSERT_LT(++questions, 100);
  EXPECT_CUDA(cudaStreamQuery(stream));
  EXPECT_EQ(to_host(x, 1)[0], 49);
}

TEST_F(Streams, HostFunctionsRunInTheirTurnAndMayNotCallCuda) {
  struct Seen {
    int* host;
    int value = 0;
    cudaError_t status = cudaSuccess;
  } seen{pinned_memory<int>(1)};
  int* x = to_device(std::vector<int>{5});
  const cudaStream_t stream = make_stream();
  EXPECT_CUDA(cudaMemcpyAsync(seen.host, x, sizeof(int), cudaMemcpyDeviceToHost, stream));
  const auto look = [](void* argument) {
    auto& s = *static_cast<Seen*>(argument);
    s.value = *s.host;
    s.status = cudaMemsetAsync(s.host, 0, 4, nullptr);
  };
  EXPECT_CUDA(cudaLaunchHostFunc(stream, look, &seen));
  EXPECT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(seen.value, 5);
  EXPECT_CUDA_ERROR(cudaErrorNotPermitted, seen.status);
}

TEST_F(Streams, EventsMeasureTime) {
  cudaEvent_t start = nullptr, end = nullptr;
  EXPECT_CUDA(cudaEventCreate(&start));
  EXPECT_CUDA(cudaEventCreate(&end));
  int* x = device_memory<int>(kCount);
  const cudaStream_t stream = make_stream();
  EXPECT_CUDA(cudaEventRecord(start, stream));
  launch_set(x, kCount, 1, stream);
  EXPECT_CUDA(cudaEventRecord(end, stream));
  float milliseconds = -1;
  EXPECT_CUDA_ERROR(cudaErrorNotReady, cudaEventElapsedTime(&milliseconds, start, end));
  EXPECT_CUDA(cudaEventSynchronize(end));
  EXPECT_CUDA(cudaEventElapsedTime(&milliseconds, start, end));
  EXPECT_GT(milliseconds, 0);
  EXPECT_CUDA_ERROR(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&milliseconds, make_event(), end));
}

TEST_F(Streams, ADestroyedStreamFinishesItsWork) {
  int* x = to_device(std::vector<int>(kCount, 1));
  const cudaStream_t stream = make_stream();
  launch_set(x, kCount, 2, stream);
  EXPECT_CUDA(cudaStreamDestroy(stream));
  EXPECT_CUDA_ERROR(cudaErrorInvalidResourceHandle, cudaStreamSynchronize(stream));
  EXPECT_CUDA(cudaDeviceSynchronize());
  EXPECT_EQ(to_host(x, 1)[0], 2);
}

TEST_F(Streams, OneSeedGivesOneOrder) {
  const auto run = [&] {
    restart(5);
    int* x = to_device(std::vector<int>(1, 0));
    int* digits = to_device(std::vector<int>{1, 2, 3});
    for (int i = 0; i < 3; ++i) {
      const cudaStream_t stream = make_stream();
      for (int j = 0; j < 3; ++j) launch_scale_and_add(x, 1, 4, digits + i, stream);
    }
    EXPECT_CUDA(cudaDeviceSynchronize());
    return to_host(x, 1)[0];
  };
  const int first = run();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(run(), first);
}

TEST_F(Streams, ThreadsWaitBesideEachOther) {
  constexpr int kRounds = 200;
  std::atomic<int> wrong = 0;
  const auto work = [&](int device) {
    EXPECT_CUDA(cudaSetDevice(device));
    int* x = device_memory<int>(kCount);
    int* host = pinned_memory<int>(kCount);
    const cudaStream_t stream = make_stream();
    for (int i = 0; i < kRounds; ++i) {
      launch_set(x, kCount, i, stream);
      EXPECT_CUDA(cudaMemcpyAsync(host, x, kCount * sizeof(int), cudaMemcpyDeviceToHost, stream));
      EXPECT_CUDA(cudaStreamSynchronize(stream));
      if (host[kCount - 1] != i) ++wrong;
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace heddle::emulator
