// Stream capture and graphs of the emulated host runtime.
#include <set>
#include <thread>

#include "host_test.h"

namespace heddle::emulator {
namespace {

constexpr int kSeeds = 24;
constexpr int kCount = 40;

// Work with a fork and a join: `side` works on y while `main` works on x; then x += y.
struct Program {
  int *x, *y, *addend;
  cudaStream_t main, side;
  cudaEvent_t fork, join;

  void queue(int factor) const {
    launch_scale_and_add(x, kCount, factor, addend, main);
    EXPECT_CUDA(cudaEventRecord(fork, main));
    EXPECT_CUDA(cudaStreamWaitEvent(side, fork));
    launch_scale_and_add(y, kCount, factor, x, side);
    EXPECT_CUDA(cudaEventRecord(join, side));
    EXPECT_CUDA(cudaStreamWaitEvent(main, join));
    launch_scale_and_add(x, kCount, 1, y, main);
  }
};

class Graphs : public HostTest {
 protected:
  static Program make_program() {
    return {to_device(std::vector<int>(kCount, 1)),
            to_device(std::vector<int>(kCount, 2)),
            to_device(std::vector<int>{3}),
            make_stream(),
            make_stream(),
            make_event(),
            make_event()};
  }
  static cudaGraphExec_t capture(cudaStream_t stream, const std::function<void()>& queue,
                                 std::size_t expected_nodes) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    EXPECT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    queue();
    EXPECT_CUDA(cudaStreamEndCapture(stream, &graph));
    std::size_t nodes = 0;
    EXPECT_CUDA(cudaGraphGetNodes(graph, nullptr, &nodes));
    EXPECT_EQ(nodes, expected_nodes);
    EXPECT_CUDA(cudaGraphInstantiate(&executable, graph, 0));
    EXPECT_CUDA(cudaGraphDestroy(graph));
    return executable;
  }
};

TEST_F(Graphs, ReplayEqualsEager) {
  const auto run = [&](bool captured) {
    const Program program = make_program();
    cudaGraphExec_t executable = nullptr;
    if (captured)
      executable = capture(
          program.main, [&] { program.queue(2); }, 3);
    for (int i = 0; i < 4; ++i) {
      if (captured) {
        EXPECT_CUDA(cudaGraphLaunch(executable, program.main));
      } else {
        program.queue(2);
      }
    }
    EXPECT_CUDA(cudaStreamSynchronize(program.main));
    EXPECT_CUDA(cudaGraphExecDestroy(executable));
    return to_host(program.x, kCount);
  };
  const std::vector<int> eager = run(false);
  EXPECT_EQ(count_wrong<std::vector<int>>(kSeeds, eager, [&] { return run(true); }), 0);
}

TEST_F(Graphs, AMissingWaitInsideIsSeen) {
  const auto run = [&](bool wait) {
    const Program p = make_program();
    const auto executable = capture(
        p.main,
        [&] {
          EXPECT_CUDA(cudaEventRecord(p.fork, p.main));
          EXPECT_CUDA(cudaStreamWaitEvent(p.side, p.fork));
          launch_set(p.x, kCount, 4, p.main);
          if (wait) {
            EXPECT_CUDA(cudaEventRecord(p.fork, p.main));
            EXPECT_CUDA(cudaStreamWaitEvent(p.side, p.fork));
          }
          launch_scale_and_add(p.x, kCount, 10, p.addend, p.side);
          EXPECT_CUDA(cudaEventRecord(p.join, p.side));
          EXPECT_CUDA(cudaStreamWaitEvent(p.main, p.join));
        },
        2);
    EXPECT_CUDA(cudaGraphLaunch(executable, p.main));
    EXPECT_CUDA(cudaStreamSynchronize(p.main));
    EXPECT_CUDA(cudaGraphExecDestroy(executable));
    return to_host(p.x, 1)[0];
  };
  EXPECT_EQ(count_wrong<int>(kSeeds, 43, [&] { return run(true); }), 0);
  EXPECT_GT(count_wrong<int>(kSeeds, 43, [&] { return run(false); }), kSeeds / 4);
}

TEST_F(Graphs, ArgumentsAreFrozenAndDeviceMemoryIsNot) {
  const Program p = make_program();
  int factor = 2;
  const auto executable = capture(
      p.main, [&] { launch_scale_and_add(p.x, kCount, factor, p.addend, p.main); }, 1);
  factor = 100;
  EXPECT_EQ(to_host(p.x, 1)[0], 1);  // capturing runs nothing
  EXPECT_CUDA(cudaGraphLaunch(executable, p.main));
  EXPECT_CUDA(cudaStreamSynchronize(p.main));
  EXPECT_EQ(to_host(p.x, 1)[0], 2 * 1 + 3);
  const int addend = 1000;
  EXPECT_CUDA(cudaMemcpy(p.addend, &addend, sizeof addend, cudaMemcpyHostToDevice));
  EXPECT_CUDA(cudaGraphLaunch(executable, p.main));
  EXPECT_CUDA(cudaStreamSynchronize(p.main));
  EXPECT_EQ(to_host(p.x, 1)[0], 2 * 5 + 1000);
  EXPECT_CUDA(cudaGraphExecDestroy(executable));
}

TEST_F(Graphs, LaunchesOfOneGraphDoNotOverlap) {
  const auto run = [&] {
    const Program p = make_program();
    const auto executable = capture(
        p.main, [&] { p.queue(2); }, 3);
    EXPECT_CUDA(cudaGraphLaunch(executable, p.main));
    EXPECT_CUDA(cudaGraphLaunch(executable, p.side));
    EXPECT_CUDA(cudaDeviceSynchronize());
    EXPECT_CUDA(cudaGraphExecDestroy(executable));
    return to_host(p.x, kCount);
  };
  const std::vector<int> expected = run();
  EXPECT_EQ(count_wrong<std::vector<int>>(kSeeds, expected, run), 0);
}

TEST_F(Graphs, ForkedWorkMustComeBack) {
  const Program p = make_program();
  cudaGraph_t graph = nullptr;
  EXPECT_CUDA(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
  EXPECT_CUDA(cudaEventRecord(p.fork, p.main));
  EXPECT_CUDA(cudaStreamWaitEvent(p.side, p.fork));
  launch_set(p.y, kCount, 1, p.side);
  cudaStreamCaptureStatus status;
  EXPECT_CUDA(cudaStreamIsCapturing(p.side, &status));
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  EXPECT_CUDA_ERROR(cudaErrorStreamCaptureUnjoined, cudaStreamEndCapture(p.main, &graph));
  EXPECT_EQ(graph, nullptr);
  EXPECT_CUDA(cudaStreamIsCapturing(p.side, &status));
  EXPECT_EQ(status, cudaStreamCaptureStatusNone);
}

TEST_F(Graphs, WaitingWhileCapturingSpoilsTheCapture) {
  const Program p = make_program();
  int* pinned = pinned_memory<int>(1);
  const std::function<cudaError_t()> forbidden[] = {
      [&] { return cudaStreamSynchronize(p.main); },
      [&] { return cudaStreamQuery(p.main); },
      [&] { return cudaDeviceSynchronize(); },
      [&] { return cudaEventQuery(p.join); },
      [&] {
        void* memory = nullptr;
        return cudaMalloc(&memory, 4);
      },
      [&] { return cudaFree(p.y); },
      [&] { return cudaMemcpy(p.x, p.y, 4, cudaMemcpyDeviceToDevice); },
      [&] {
        int host = 0;
        return cudaMemcpyAsync(p.x, &host, 4, cudaMemcpyHostToDevice, p.main);
      },
  };
  for (const auto& call : forbidden) {
    cudaGraph_t graph = nullptr;
    EXPECT_CUDA(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
    EXPECT_CUDA_ERROR(cudaErrorStreamCaptureUnsupported, call());
    EXPECT_CUDA_ERROR(cudaErrorStreamCaptureInvalidated,
                      cudaMemcpyAsync(pinned, p.x, 4, cudaMemcpyDeviceToHost, p.main));
    EXPECT_CUDA_ERROR(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(p.main, &graph));
  }
  EXPECT_CUDA(cudaStreamSynchronize(p.main));
}

TEST_F(Graphs, ThreadLocalCapturesLetOtherThreadsAllocate) {
  const Program p = make_program();
  cudaGraph_t graph = nullptr;
  for (const auto mode : {cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeGlobal}) {
    EXPECT_CUDA(cudaStreamBeginCapture(p.main, mode));
    cudaError_t allocated = cudaSuccess, ended = cudaSuccess;
    std::thread([&] {
      void* memory = nullptr;
      allocated = cudaMalloc(&memory, 4);
      ended = cudaStreamEndCapture(p.side, &graph);
    }).join();
    const bool global = mode == cudaStreamCaptureModeGlobal;
    EXPECT_EQ(allocated, global ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
    EXPECT_EQ(ended, cudaErrorInvalidValue);
    EXPECT_EQ(cudaStreamEndCapture(p.main, &graph), global ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
    EXPECT_CUDA(cudaGraphDestroy(graph));
  }
}

TEST_F(Graphs, EventsStayOnTheirSideOfACapture) {
  const Program p = make_program();
  cudaGraph_t graph = nullptr;
  // Recorded inside, used outside.
  EXPECT_CUDA(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
  launch_set(p.x, kCount, 1, p.main);
  EXPECT_CUDA(cudaEventRecord(p.fork, p.main));
  EXPECT_CUDA(cudaStreamEndCapture(p.main, &graph));
  EXPECT_CUDA_ERROR(cudaErrorCapturedEvent, cudaEventSynchronize(p.fork));
  EXPECT_CUDA_ERROR(cudaErrorCapturedEvent, cudaEventQuery(p.fork));
  EXPECT_CUDA_ERROR(cudaErrorCapturedEvent, cudaStreamWaitEvent(p.side, p.fork));
  EXPECT_CUDA(cudaGraphDestroy(graph));
  // Recorded outside, waited for inside.
  EXPECT_CUDA(cudaEventRecord(p.join, p.side));
  EXPECT_CUDA(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
  EXPECT_CUDA_ERROR(cudaErrorStreamCaptureIsolation, cudaStreamWaitEvent(p.main, p.join));
  EXPECT_CUDA_ERROR(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(p.main, &graph));
  // Two captures.
  EXPECT_CUDA(cudaStreamBeginCapture(p.main, cudaStreamCaptureModeThreadLocal));
  EXPECT_CUDA(cudaStreamBeginCapture(p.side, cudaStreamCaptureModeThreadLocal));
  EXPECT_CUDA(cudaEventRecord(p.fork, p.main));
  EXPECT_CUDA_ERROR(cudaErrorStreamCaptureMerge, cudaStreamWaitEvent(p.side, p.fork));
  EXPECT_CUDA_ERROR(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(p.side, &graph));
  EXPECT_CUDA_ERROR(cudaErrorStreamCaptureInvalidated, cudaStreamEndCapture(p.main, &graph));
}

TEST_F(Graphs, OtherStreamsRunBetweenNodes) {
  const auto run = [&] {
    const Program p = make_program();
    const auto executable = capture(
        p.main,
        [&] {
          for (int i = 0; i < 4; ++i) launch_scale_and_add(p.x, 1, 4, p.addend, p.main);
        },
        4);
    EXPECT_CUDA(cudaGraphLaunch(executable, p.main));
    launch_set(p.x, 1, 0, p.side);
    EXPECT_CUDA(cudaDeviceSynchronize());
    EXPECT_CUDA(cudaGraphExecDestroy(executable));
    return to_host(p.x, 1)[0];
  };
  std::set<int> results;
  for (int seed = 0; seed < 4 * kSeeds; ++seed) {
    restart(static_cast<std::uint64_t>(seed));
    results.insert(run());
  }
  EXPECT_EQ(results.size(), 5u);  // `set` before, between and after the four nodes
}

}  // namespace
}  // namespace heddle::emulator
