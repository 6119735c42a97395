// Memory, devices and launches of the emulated host runtime, and how they refuse what a GPU would refuse.
#include <cmath>
#include <cstring>
#include <string>

#include "host_test.h"
#include "tests/emulator/host/work.h"

namespace heddle::emulator {
namespace {

class Memory : public HostTest {};

__global__ void set_at(int* x, int at) {
  if (threadIdx.x == 0) x[at] = 7;
}

#define EXPECT_CONTAINS_TEXT(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(Memory, FreshMemoryIsNan) {
  for (int round = 0; round < 2; ++round) {
    float* x = device_memory<float>(300);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x) % 256, 0u);
    for (const float value : to_host(x, 300)) EXPECT_TRUE(std::isnan(value));
    EXPECT_CUDA(cudaMemset(x, 0, 300 * sizeof(float)));
    EXPECT_CUDA(cudaFree(x));
  }
}

TEST_F(Memory, MoreThanThereIsIsRefused) {
  std::size_t free = 0, total = 0, later = 0;
  EXPECT_CUDA(cudaMemGetInfo(&free, &total));
  EXPECT_EQ(free, total);
  void* x = nullptr;
  EXPECT_CUDA(cudaMalloc(&x, 1000));
  EXPECT_CUDA(cudaMemGetInfo(&later, &total));
  EXPECT_EQ(later, free - 1024);
  void* y = x;
  EXPECT_CUDA_ERROR(cudaErrorMemoryAllocation, cudaMalloc(&y, later + 1));
  EXPECT_EQ(y, nullptr);
  EXPECT_CUDA_ERROR(cudaErrorMemoryAllocation, cudaMalloc(&y, ~std::size_t{0}));
  EXPECT_CUDA_ERROR(cudaErrorMemoryAllocation, cudaGetLastError());
  EXPECT_CUDA(cudaFree(x));
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue, cudaFree(x));
  EXPECT_CUDA(cudaFree(nullptr));
  EXPECT_CUDA(cudaMemGetInfo(&later, &total));
  EXPECT_EQ(later, free);
}

TEST_F(Memory, DevicesHaveMemoryOfTheirOwn) {
  void* x = nullptr;
  EXPECT_CUDA(cudaSetDevice(3));
  EXPECT_CUDA(cudaMalloc(&x, 512));
  std::size_t free = 0, total = 0;
  EXPECT_CUDA(cudaMemGetInfo(&free, &total));
  EXPECT_EQ(free, total - 512);
  EXPECT_CUDA(cudaSetDevice(0));
  EXPECT_CUDA(cudaMemGetInfo(&free, &total));
  EXPECT_EQ(free, total);
  EXPECT_CUDA_ERROR(cudaErrorInvalidDevice, cudaSetDevice(8));
}

TEST_F(Memory, RangesAreReused) {
  std::vector<void*> blocks(20);
  for (void*& block : blocks) EXPECT_CUDA(cudaMalloc(&block, 5000));
  for (void* block : blocks) EXPECT_CUDA(cudaFree(block));
  void* all = nullptr;
  EXPECT_CUDA(cudaMalloc(&all, 90000));
  EXPECT_EQ(all, blocks[0]);
}

TEST_F(Memory, WritesBesideAnAllocationEndTheContext) {
  for (const int at : {-1, 40}) {
    restart(0);
    int* before = device_memory<int>(8);
    int* x = device_memory<int>(40);
    const cudaStream_t stream = make_stream();
    cuda::launch<&set_at>({1, 32}, stream, x, at);
    EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaStreamSynchronize(stream));
    EXPECT_CONTAINS_TEXT(last_fault(), "set_at");
    EXPECT_CONTAINS_TEXT(last_fault(),
                         at < 0 ? "before an allocation of 160 bytes" : "behind an allocation of 160");
    EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaMemset(before, 0, 4));
    EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaGetLastError());  // stays
    EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaGetLastError());
  }
  restart(0);
  EXPECT_CUDA(cudaFree(device_memory<int>(1)));
}

TEST_F(Memory, AFaultyKernelEndsTheContext) {
  int* x = device_memory<int>(8);
  const cudaStream_t stream = make_stream();
  const cudaLaunchConfig_t config{1, 32, 0, stream, nullptr, 0};
  EXPECT_CUDA(cudaLaunchKernelEx(
      &config, +[](int*) { throw Fault("the kernel broke a rule"); }, x));
  EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaDeviceSynchronize());
  EXPECT_CONTAINS_TEXT(last_fault(), "the kernel broke a rule");
}

TEST_F(Memory, KernelsRefuseHostMemory) {
  int here = 0;
  const cudaStream_t stream = make_stream();
  launch_set(&here, 1, 7, stream);
  EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaStreamSynchronize(stream));
  EXPECT_CONTAINS_TEXT(last_fault(), "argument 0");
  EXPECT_CONTAINS_TEXT(last_fault(), "memory of the host");
  EXPECT_EQ(here, 0);
}

TEST_F(Memory, KernelsRefuseFreedMemory) {
  int* x = device_memory<int>(1);
  EXPECT_CUDA(cudaFree(x));
  launch_set(x, 1, 7, make_stream());
  EXPECT_CUDA_ERROR(cudaErrorLaunchFailure, cudaDeviceSynchronize());
  EXPECT_CONTAINS_TEXT(last_fault(), "not allocated");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
using MemoryDeathTest = Memory;
TEST_F(MemoryDeathTest, HostCodeCannotTouchDeviceMemory) {
  volatile int* x = device_memory<int>(10);
  EXPECT_DEATH(x[3] = 1,
               "host code touched device memory at 0x[0-9a-f]+ \\(byte 12 of an allocation of 40 bytes\\)");
  EXPECT_DEATH((void)x[3], "host code touched device memory");
}
#endif

TEST_F(Memory, CopiesAreChecked) {
  int* x = device_memory<int>(10);
  int* pinned = pinned_memory<int>(10);
  std::vector<int> host(20);
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue, cudaMemcpy(x, host.data(), 44, cudaMemcpyHostToDevice));
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue, cudaMemcpy(pinned, x + 1, 40, cudaMemcpyDeviceToHost));
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue, cudaMemcpy(pinned + 1, x, 40, cudaMemcpyDeviceToHost));
  EXPECT_CUDA_ERROR(cudaErrorInvalidMemcpyDirection, cudaMemcpy(x, host.data(), 40, cudaMemcpyDeviceToHost));
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue, cudaMemset(x + 9, 0, 8));
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue, cudaMemset(host.data(), 0, 8));
  EXPECT_CUDA(cudaMemcpy(x, host.data(), 40, cudaMemcpyDefault));
}

TEST_F(Memory, DevicesAreDescribed) {
  int count = 0;
  EXPECT_CUDA(cudaGetDeviceCount(&count));
  ASSERT_EQ(count, 8);
  cudaDeviceProp first, second;
  EXPECT_CUDA(cudaGetDeviceProperties(&first, 0));
  EXPECT_CUDA(cudaGetDeviceProperties(&second, 1));
  EXPECT_STREQ(first.name, "Emulated GPU");
  EXPECT_NE(first.pciBusID, second.pciBusID);
  EXPECT_NE(std::memcmp(&first.uuid, &second.uuid, sizeof first.uuid), 0);
  int value = 0;
  EXPECT_CUDA(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
  EXPECT_EQ(value, first.multiProcessorCount);
  EXPECT_CUDA_ERROR(cudaErrorInvalidDevice, cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 8));
}

TEST_F(Memory, LaunchesAreChecked) {
  int* x = device_memory<int>(1);
  const cudaStream_t stream = make_stream();
  const auto launch = [&](dim3 grid, dim3 block, std::size_t shared) {
    const cudaLaunchConfig_t config{grid, block, shared, stream, nullptr, 0};
    return cudaLaunchKernelEx(&config, set, x, 1, 1);
  };
  EXPECT_CUDA(launch(1, 32, 48 << 10));
  EXPECT_CUDA_ERROR(cudaErrorInvalidConfiguration, launch(1, 1056, 0));
  EXPECT_CUDA_ERROR(cudaErrorInvalidConfiguration, launch(0, 32, 0));
  EXPECT_CUDA_ERROR(cudaErrorInvalidConfiguration, launch({1, 65536}, 32, 0));
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue, launch(1, 32, 49 << 10));
  EXPECT_CUDA_ERROR(cudaErrorInvalidValue,
                    cudaFuncSetAttribute(set, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10));
  EXPECT_CUDA(cudaFuncSetAttribute(set, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10));
  EXPECT_CUDA(launch(1, 32, 100 << 10));
  EXPECT_CUDA(cudaFuncSetAttribute(set, cudaFuncAttributeMaxDynamicSharedMemorySize, 48 << 10));
  int blocks = 0;
  EXPECT_CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, set, 1024, 100 << 10));
  EXPECT_EQ(blocks, 2);
  EXPECT_CUDA(cudaSetDevice(1));
  EXPECT_CUDA_ERROR(cudaErrorInvalidResourceHandle, launch(1, 32, 0));  // the stream is device 0's
  EXPECT_CUDA(cudaSetDevice(0));
}

}  // namespace
}  // namespace heddle::emulator
