// Kernels that a GPU would hang on, refuse, or compute nonsense with, and what the emulator says of them.
#include <cstring>

#include "tests/emulator/tests/emulated.h"

namespace heddle::cuda {
namespace {

using emulator::fault_of;
using emulator::for_seeds;

struct Bytes {
  unsigned char of[256];
};

// As many as it takes for each lane to be the first of its warp with some seed, and the last with another.
constexpr int kManySeeds = 200;

// Every seed must find the kernel's fault, and its text contain all the parts.
template <auto Kernel, typename... Arguments>
void expect_fault(const LaunchShape& shape, std::initializer_list<const char*> parts,
                  Arguments... arguments) {
  for (const std::string& text :
       for_seeds(kManySeeds, [&] { return fault_of([&] { run_now<Kernel>(shape, arguments...); }); }))
    for (const char* part : parts) EXPECT_CONTAINS(text, part);
}

__global__ void half_a_warp_shuffles(int* out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_xor_sync(kFullWarp, 1, 1);
}

TEST(EmulatorFault, HalfAWarpAtAShuffle) {
  std::vector<int> out(64);
  expect_fault<&half_a_warp_shuffles>(
      {dim3(1, 2), 64},
      {"kernel heddle::cuda::(anonymous namespace)::half_a_warp_shuffles(int*), block (0, ", "lane ",
       " returned", " of its warp ", "__shfl_xor_sync (faults_test.cpp:", "of the block's 64 threads"},
      out.data());
}

// One lane returns, and is alone in that.
__global__ void one_returns(int* out, bool early) {
  if (early && threadIdx.x == 5) return;
  out[threadIdx.x] = __shfl_xor_sync(kFullWarp, 1, 1);
}

TEST(EmulatorFault, LaneThatReturnedBeforeAShuffle) {
  std::vector<int> out(32);
  run_now<&one_returns>({1, 32}, out.data(), false);
  for (const std::string& text : for_seeds(kManySeeds, [&] {
         return fault_of([&] { run_now<&one_returns>({1, 32}, out.data(), true); });
       }))
    EXPECT_TRUE(text.find("lane 5 of warp 0 (thread 5) has returned, but lane") != std::string::npos ||
                text.find(", but lane 5 of its warp returned before") != std::string::npos)
        << text;
}

__global__ void lanes_meet_in_two_functions() {
  if (threadIdx.x == 3)
    __syncwarp();
  else
    __shfl_sync(kFullWarp, 1, 0);
}
__global__ void lanes_meet_in_two_places(int* out) {
  if (threadIdx.x == 3)
    out[3] = __shfl_sync(kFullWarp, 1, 0);
  else
    out[threadIdx.x] = __shfl_sync(kFullWarp, 1, 0);
}
template <typename T>
__device__ T first_lane(T value) {
  return __shfl_sync(kFullWarp, value, 0);
}
__global__ void lanes_meet_in_two_types(double* out) {
  out[threadIdx.x] = threadIdx.x == 3 ? first_lane(1.0f) : first_lane(2.0);
}
__global__ void barrier_among_mma(unsigned num_lanes) {
  float d[4] = {};
  const std::uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x < num_lanes)
    __syncthreads();
  else
    mma_m16n8k16(d, a, b);
}

TEST(EmulatorFault, LanesInDifferentFunctions) {
  const char* here = " of its warp wait";
  expect_fault<&lanes_meet_in_two_functions>(
      {1, 32}, {"__syncwarp (faults_test.cpp:", "__shfl_sync (faults_test.cpp:", here});
  std::vector<int> out(32);
  expect_fault<&lanes_meet_in_two_places>({1, 32}, {"has come to __shfl_sync", here}, out.data());
  std::vector<double> doubles(32);
  expect_fault<&lanes_meet_in_two_types>({1, 32}, {"has come to __shfl_sync", here}, doubles.data());
  for (unsigned num_lanes : {1u, 16u, 31u})
    expect_fault<&barrier_among_mma>(
        {1, 32}, {"has come to ", "__syncthreads (faults_test.cpp:", "mma_m16n8k16 (faults_test.cpp:", here},
        num_lanes);
}

__global__ void barriers_in_branches(int* out) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    out[threadIdx.x] = __syncthreads_or(1);
}
__global__ void barrier_in_a_branch() {
  if (threadIdx.x < 32) __syncthreads();
  __syncthreads();
}

TEST(EmulatorFault, BarriersInBranches) {
  std::vector<int> out(96);
  expect_fault<&barriers_in_branches>({1, 96},
                                      {"__syncthreads_or (faults_test.cpp:",
                                       "__syncthreads (faults_test.cpp:", " threads of the block wait in "},
                                      out.data());
  expect_fault<&barrier_in_a_branch>({1, 96},
                                     {"has come to __syncthreads", " threads of the block wait in "});
}

__global__ void mask_of_half_a_warp() {
  __syncwarp(0xffffu);
}

TEST(EmulatorFault, MasksNameAllLanes) {
  expect_fault<&mask_of_half_a_warp>({1, 32}, {"mask 0x0000ffff, which is not all 32 lanes"});
}

__global__ void write_shared(int offset) {
  if (threadIdx.x == 0) (&shared_memory<Bytes>().of[0])[offset] = 1;
}

TEST(EmulatorFault, WritesBesideSharedMemory) {
  for (int offset : {0, 255}) run_now<&write_shared>({2, 32, sizeof(Bytes)}, offset);
  expect_fault<&write_shared>({1, 32, sizeof(Bytes)},
                              {"byte 256 of its 256 bytes of shared memory has been written"}, 256);
  expect_fault<&write_shared>({1, 32, sizeof(Bytes)}, {"byte 4000 of its 256 bytes"}, 4000);
  expect_fault<&write_shared>({1, 32, sizeof(Bytes)}, {"bytes before its shared memory"}, -1);
  run_now<&write_shared>({1, 32, sizeof(Bytes)}, 0);  // the guard is whole again
}

TEST(EmulatorFault, SharedMemoryThatTheLaunchDoesNotGive) {
  expect_fault<&write_shared>({1, 32, 255}, {"needs 256 bytes, but the launch gives 255"}, 0);
}

__global__ void nothing() {}

TEST(EmulatorFault, LaunchesThatCudaRefuses) {
  run_now<&nothing>({dim3(1, 2, 3), dim3(8, 4, 32), 227 << 10});
  expect_fault<&nothing>({1, 48}, {"not a multiple of 32"});
  expect_fault<&nothing>({1, 1056}, {"1056 x 1 x 1 threads"});
  expect_fault<&nothing>({1, dim3(0, 32)}, {"0 x 32 x 1 threads"});
  expect_fault<&nothing>({dim3(1, 65536), 32}, {"1 x 65536 x 1 blocks"});
  EXPECT_CONTAINS(fault_of([] { emulator::run_grid("huge", 1, 32, (227 << 10) + 1, [] {}); }),
                  "kernel huge cannot be launched: 232449 bytes of shared memory");
  EXPECT_CONTAINS(fault_of([] { emulator::run_grid("empty", {1, 0}, 32, 0, [] {}); }), "1 x 0 x 1 blocks");
}

TEST(EmulatorFault, DeviceFunctionsOutsideOfKernels) {
  EXPECT_CONTAINS(fault_of([] { __syncthreads(); }), "__syncthreads was called outside of a kernel");
}

// Waiting threads of a broken block are given up; the next launches find everything as new.
__global__ void barrier_then_branch(int* out, bool broken) {
  __syncthreads();
  if (broken && threadIdx.x == 40) __syncwarp();
  __syncthreads();
  out[threadIdx.x] = static_cast<int>(threadIdx.x);
}

TEST(EmulatorFault, LaterKernelsAreNotDisturbed) {
  for (int round = 0; round < 20; ++round) {
    std::vector<int> out(512, -1);
    fault_of([&] { run_now<&barrier_then_branch>({1, 512}, out.data(), true); });
    EXPECT_EQ(out, std::vector<int>(512, -1));
    run_now<&barrier_then_branch>({1, 512}, out.data(), false);
    for (int i = 0; i < 512; ++i) ASSERT_EQ(out[i], i);
  }
}

struct Failure {};
__global__ void throw_something() {
  __syncthreads();
  if (threadIdx.x == 5) throw Failure{};
}

TEST(EmulatorFault, OtherExceptionsLeaveTheGridToo) {
  EXPECT_THROW(run_now<&throw_something>({1, 64}), Failure);
}

}  // namespace
}  // namespace heddle::cuda
