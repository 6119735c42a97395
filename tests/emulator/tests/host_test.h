// What the tests of the emulated host runtime share.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/cuda/launch.h"
#include "tests/emulator/grid.h"

#define EXPECT_CUDA(call) EXPECT_STREQ(cudaGetErrorName(call), "cudaSuccess")
#define EXPECT_CUDA_ERROR(error, call) EXPECT_STREQ(cudaGetErrorName(call), #error)

namespace heddle::emulator {

// Every test starts with a GPU as after a reboot, and seed 0.
class HostTest : public ::testing::Test {
 protected:
  HostTest() { restart(0); }
  ~HostTest() override { restart(0); }

  static void restart(std::uint64_t seed) {
    set_seed(seed);
    cudaDeviceReset();
    cudaGetLastError();
  }

  // How many of the seeds 0 to count - 1 give a result other than `expected`.
  template <typename T>
  static int count_wrong(int count, const T& expected, const std::function<T()>& run) {
    int wrong = 0;
    for (int seed = 0; seed < count; ++seed) {
      restart(static_cast<std::uint64_t>(seed));
      if (run() != expected) ++wrong;
    }
    return wrong;
  }

  static cudaStream_t make_stream() {
    cudaStream_t stream = nullptr;
    EXPECT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
  }
  static cudaEvent_t make_event() {
    cudaEvent_t event = nullptr;
    EXPECT_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return event;
  }
  template <typename T>
  static T* device_memory(std::size_t count) {
    T* data = nullptr;
    EXPECT_CUDA(cudaMalloc(&data, count * sizeof(T)));
    return data;
  }
  template <typename T>
  static T* pinned_memory(std::size_t count) {
    T* data = nullptr;
    EXPECT_CUDA(cudaMallocHost(&data, count * sizeof(T)));
    return data;
  }
  template <typename T>
  static T* to_device(const std::vector<T>& values) {
    T* data = device_memory<T>(values.size());
    EXPECT_CUDA(cudaMemcpy(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    return data;
  }
  template <typename T>
  static std::vector<T> to_host(const T* data, std::size_t count) {
    std::vector<T> values(count);
    EXPECT_CUDA(cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }
};

// x = factor * x + *addend
inline __global__ void scale_and_add(int* x, int count, int factor, const int* addend) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) x[i] = factor * x[i] + *addend;
}
inline __global__ void set(int* x, int count, int value) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) x[i] = value;
}

inline void launch_scale_and_add(int* x, int count, int factor, const int* addend, cudaStream_t stream) {
  cuda::launch<&scale_and_add>({cuda::blocks_for(count, 32), 32}, stream, x, count, factor, addend);
}
inline void launch_set(int* x, int count, int value, cudaStream_t stream) {
  cuda::launch<&set>({cuda::blocks_for(count, 32), 32}, stream, x, count, value);
}

}  // namespace heddle::emulator
